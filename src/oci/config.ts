// The image config, OCI or Docker (docs/spec/oci.md, section 4.3): what the import and the listing need of it.

import * as v from "valibot";

import { isDigest, type Digest } from "./digest.ts";
import { parseJson } from "./json.ts";
import { checkDocument } from "./manifest.ts";

/** The parts of an image config that are read. */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly variant: string | undefined;
  /** When the image was made, as written there (RFC 3339). */
  readonly created: string | undefined;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly Digest[];
  readonly labels: Readonly<Record<string, string>>;
}

const config = v.object({
  architecture: v.string(),
  os: v.string(),
  variant: v.nullish(v.string()),
  created: v.nullish(v.string()),
  rootfs: v.object({
    type: v.string(),
    diff_ids: v.array(
      v.pipe(
        v.string(),
        v.check(isDigest, (issue) => `${JSON.stringify(issue.input)} is not a digest`),
      ),
    ),
  }),
  config: v.nullish(v.object({ Labels: v.nullish(v.record(v.string(), v.string())) })),
});

const KEYS: ReadonlySet<string> = new Set([
  ...Object.keys(config.entries),
  ...Object.keys(config.entries.rootfs.entries),
  "Labels",
]);

/**
 * Reads an image config.
 *
 * @param what names it in errors, as in "the config sha256:..."
 * @throws ComposefsError `invalid`
 */
export function parseImageConfig(bytes: Uint8Array, what = "the config"): ImageConfig {
  const value = checkDocument(config, parseJson(bytes, what, KEYS), what);
  return {
    architecture: value.architecture,
    os: value.os,
    variant: value.variant ?? undefined,
    created: value.created ?? undefined,
    diffIds: value.rootfs.diff_ids,
    labels: value.config?.Labels ?? {},
  };
}
