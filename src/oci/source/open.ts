// From a reference to an opened source. Transports are added here, and nowhere else.

import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { layoutNameSplits, parseReference, type ImageReference } from "../reference.ts";
import { isLayout, LayoutSource } from "./layout.ts";
import type { ImageSource } from "./source.ts";

/** The transports that {@link openSource} can open. */
const SUPPORTED = ["oci:DIR[:TAG]"];

/** Options of {@link openSource}. */
export interface OpenSourceOptions {
  /** Receives warnings about the source. */
  onProgress?: ProgressListener;
}

/**
 * Opens the source that a reference names. Close it with `await using` or by disposing of it.
 *
 * @example
 * ```ts
 * await using source = await openSource("oci:./image:v1");
 * const { digest } = await source.resolve();
 * ```
 * @throws ComposefsError `invalid` for a bad reference, `unsupported` for a transport that is not built yet,
 *   `not-found` when there is nothing
 */
export async function openSource(
  reference: string | ImageReference,
  options: OpenSourceOptions = {},
): Promise<ImageSource> {
  const parsed = typeof reference === "string" ? parseReference(reference) : reference;
  if (parsed.transport === "oci") {
    const { path, tag } = await findLayout(parsed.name);
    return LayoutSource.open(path, tag, options.onProgress);
  }
  throw new ComposefsError(
    "unsupported",
    `cannot read ${parsed.text}: the transport ${parsed.transport} is not supported yet`,
    {
      hint: `supported now: ${SUPPORTED.join(", ")}; make a layout with \`skopeo copy ${parsed.text} oci:DIR:TAG\``,
    },
  );
}

/** The first split whose path is a layout; the textual rule's where none is, so that the error speaks of that. */
async function findLayout(name: string) {
  const splits = layoutNameSplits(name);
  for (const split of splits) {
    if (await isLayout(split.path)) return split;
  }
  return splits[0] ?? { path: name, tag: undefined };
}
