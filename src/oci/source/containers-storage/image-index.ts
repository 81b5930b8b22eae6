// The images of a store: `overlay-images/images.json` (docs/spec/containers-storage.md, section 4.1).

import * as v from "valibot";

import { parseIndexFile } from "./index-file.ts";

const imageList = v.array(
  v.object({
    id: v.string(),
    digest: v.nullish(v.string()),
    names: v.nullish(v.array(v.string())),
    "names-history": v.nullish(v.array(v.string())),
    layer: v.nullish(v.string()),
    "big-data-names": v.nullish(v.array(v.string())),
    "big-data-digests": v.nullish(v.record(v.string(), v.string())),
  }),
);

/** An image as its store lists it. */
export interface StoredImage {
  /** The store it is in. */
  readonly root: string;
  /** Name of its directory; nothing else is to be concluded from it. */
  readonly id: string;
  /** The digest that it was stored under: of its manifest, or of the index that this came from. */
  readonly digest: string | undefined;
  readonly names: readonly string[];
  /** Names that it had once; they do not find it. */
  readonly formerNames: readonly string[];
  /** The topmost layer. */
  readonly layer: string | undefined;
  /** Keys of its documents. */
  readonly keys: readonly string[];
  /** What the documents must be. */
  readonly digests: ReadonlyMap<string, string>;
}

/**
 * Reads the images of a store.
 *
 * @throws ComposefsError `invalid` (`bad-index`)
 */
export function readImages(root: string): StoredImage[] {
  return parseIndexFile(`${root}/overlay-images/images.json`, imageList).map((image) => ({
    root,
    id: image.id,
    digest: image.digest ?? undefined,
    names: image.names ?? [],
    formerNames: image["names-history"] ?? [],
    layer: image.layer || undefined,
    keys: image["big-data-names"] ?? [],
    digests: new Map(Object.entries(image["big-data-digests"] ?? {})),
  }));
}
