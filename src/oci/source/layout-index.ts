// What a layout's index.json and oci-layout say, wherever the layout is: in a directory or in an archive
// (docs/spec/oci.md, sections 2.3 and 2.4).

import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import type { Index } from "../manifest.ts";
import { nearNames } from "../near-names.ts";
import { chooseManifest, REF_NAME } from "./choose.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** How a layout is called in messages. */
export interface LayoutNames {
  /** As in "the layout /images/os". */
  readonly where: string;
  readonly path: string;
  /** The transport to write before the path. */
  readonly prefix: string;
}

/**
 * Finds the manifest of a tag, or of the only image, in a layout.
 *
 * @throws ComposefsError `not-found`, `invalid` when several images match
 */
export async function resolveInLayout(
  source: Pick<ImageSource, "blob">,
  index: Index,
  tag: string | undefined,
  names: LayoutNames,
  options: ResolveOptions,
): Promise<ResolvedManifest> {
  const { where, path } = names;
  if (index.manifests.length === 0) {
    throw new ComposefsError("not-found", `${where} is empty: its index.json lists no manifests`, { path });
  }
  if (tag === undefined) return chooseManifest(source, index, where, options);
  const manifests = index.manifests.filter((entry) => entry.annotations?.[REF_NAME] === tag);
  if (manifests.length === 0) throw unknownTag(index, tag, names);
  return chooseManifest(source, { ...index, manifests }, `${where} (tag ${tag})`, options);
}

function unknownTag(index: Index, tag: string, { where, path, prefix }: LayoutNames): ComposefsError {
  const names = [...new Set(index.manifests.flatMap((entry) => entry.annotations?.[REF_NAME] ?? []))].toSorted();
  const near = nearNames(tag, names);
  const listed = (near.length > 0 ? near : names).slice(0, 10).join(", ");
  const hint =
    names.length === 0
      ? `its images have no tags; write ${prefix}:${path}`
      : near.length > 0
        ? `did you mean ${listed}?`
        : `it has ${listed}${names.length > 10 ? ", ..." : ""}`;
  return new ComposefsError("not-found", `${where} has no tag ${JSON.stringify(tag)}`, { path, hint });
}

/**
 * Warns about the marker file `oci-layout`: it tells nothing that matters here, so its loss is no failure.
 *
 * @param bytes its content; undefined when it is missing, null when it cannot be read
 */
export function reportMarker(bytes: Uint8Array | undefined | null, path: string, onProgress?: ProgressListener): void {
  let problem: string | undefined;
  if (bytes === undefined) problem = "is missing";
  else if (bytes === null) problem = "cannot be read";
  else {
    try {
      const marker: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
      const version = typeof marker === "object" && marker !== null && "imageLayoutVersion" in marker;
      if (!version || marker.imageLayoutVersion !== "1.0.0") problem = "does not say layout version 1.0.0";
    } catch {
      problem = "cannot be read";
    }
  }
  if (problem !== undefined)
    onProgress?.({ type: "warning", message: `${path} ${problem}; reading the layout anyway` });
}
