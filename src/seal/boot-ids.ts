// The ids that a sealed image speaks of (docs/spec/boot.md, section 2; oci.md, section 11), computed from one tree.

import { bootableTransform } from "../boot/bootable-transform.ts";
import type { ReadFile } from "../boot/resource.ts";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { throwIfAborted } from "../error.ts";
import { imageId } from "../image/write.ts";
import type { Directory } from "../tree/node.ts";
import type { SealIds } from "./documents.ts";

/** All ids of a tree. */
export interface TreeIds extends SealIds {
  /** The image that the firmware's user boots, in the wanted format. */
  readonly boot: ObjectId;
}

/** Which ids. */
export interface TreeIdsOptions {
  readonly algorithm: Algorithm;
  readonly version: FormatVersion;
  readonly readFile: ReadFile;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Computes the ids. The tree is the boot image's afterwards: /boot and /sysroot are empty, and it has the labels of its policy.
 *
 * @throws ComposefsError what the boot transform throws
 */
export async function treeIds(tree: Directory, options: TreeIdsOptions): Promise<TreeIds> {
  const { algorithm, version, readFile, signal } = options;
  const id = (format: FormatVersion): ObjectId => {
    throwIfAborted(signal);
    return imageId(tree, { version: format, algorithm, dialect: "rs" }).id;
  };
  const label = id(version);
  const merged = version === 1 ? label : id(1);
  await bootableTransform(tree, { readFile, signal });
  const boot = id(version);
  const mergedBootable = version === 1 ? boot : id(1);
  return { algorithm, label, merged, boot, mergedBootable };
}
