// The container storage that a sysroot has for itself (docs/spec/deployments.md, section 7; docs/spec/containers-storage.md, section 17):
// where it is and what is in it. Read without podman, and never written here.

import { statSync } from "node:fs";
import { join } from "node:path";
import { readImages } from "../../oci/source/containers-storage/image-index.ts";
import type { StorageImage } from "../gc-input.ts";
import { storageImageName } from "../image-name.ts";
import { type HostImage, storageNameOf } from "../image-reference.ts";

/** The root of the storage of a sysroot, whether there is one or not. */
export function ownedStorageRoot(sysroot: string): string {
  return join(sysroot, "composefs/bootc/storage");
}

/**
 * The images in the storage of a sysroot; undefined when it has none.
 *
 * @throws ComposefsError when its index is damaged
 */
export function ownedImages(sysroot: string): StorageImage[] | undefined {
  const root = ownedStorageRoot(sysroot);
  if (statSync(join(root, "overlay-images"), { throwIfNoEntry: false })?.isDirectory() !== true) return undefined;
  return readImages(root).map(({ id, names }) => ({ id, names }));
}

/** Whether a storage has one of the images that references lead to. */
export function holdsImage(images: readonly StorageImage[], references: readonly HostImage[]): boolean {
  const wanted = new Set(references.map(storageNameOf));
  return images.some(({ names }) => names.some((name) => wanted.has(storageImageName(name))));
}
