// What a pull says about an image that cannot be built (docs/spec/oci.md, section 6).

import { ComposefsError } from "../error.ts";
import type { Digest } from "./digest.ts";

/** Says which image it was that the layers did not make. */
export function aboutImage(error: unknown, name: string, digest: Digest): unknown {
  if (!(error instanceof ComposefsError) || error.code !== "invalid" || error.digest !== undefined) return error;
  return restated(error, `the image ${name} cannot be built: ${error.message}`, digest);
}

/** Says that all but the boot image is there. */
export function withoutBootImage(error: ComposefsError, tag: string): ComposefsError {
  return restated(
    error,
    `the image was pulled and tagged ${tag}, but has no boot image: ${error.message}`,
    error.digest,
  );
}

function restated(error: ComposefsError, message: string, digest: string | undefined): ComposefsError {
  const { code, hint, path, line, reason, cause = error } = error;
  return new ComposefsError(code, message, {
    cause,
    ...(digest === undefined ? {} : { digest }),
    ...(hint === undefined ? {} : { hint }),
    ...(path === undefined ? {} : { path }),
    ...(line === undefined ? {} : { line }),
    ...(reason === undefined ? {} : { reason }),
  });
}
