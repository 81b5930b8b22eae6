// Why a UKI boots another image (docs/spec/deployments.md, section 4.2): where the builder left a dump of the tree that it sealed, the
// difference says it.

import { openImageFile } from "../boot/repository-files.ts";
import { findNode, isRegularFile } from "../boot/tree-file.ts";
import { type ByteString, displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { imageTree } from "../oci/image-tree.ts";
import type { Digest } from "../oci/digest.ts";
import type { Directory } from "../tree/node.ts";
import { diffTrees, type EntryChange } from "../tree/diff.ts";
import { readDump } from "../tree/dump-read.ts";
import type { OpenSysroot } from "./open-sysroot.ts";

/** More differences than this explain no more. */
const SHOWN = 10;

/**
 * How the image differs from what the builder of its UKI sealed.
 *
 * @param uki path of the UKI in the image
 * @param tree the boot image as it is here
 * @returns undefined when the image has no dump of `/boot/NAME.dump`, or none that can be read
 */
export async function explainByDump(
  { repository, signal }: OpenSysroot,
  manifest: Digest,
  uki: ByteString,
  tree: Directory,
): Promise<string | undefined> {
  const name = uki.slice(uki.lastIndexOf("/") + 1).replace(/\.efi$/, "");
  const path = `/boot/${name}.dump`;
  const leaf = findNode(await imageTree(repository, `@${manifest}`, { signal }), path);
  if (!isRegularFile(leaf)) return undefined;
  try {
    using file = openImageFile(repository, { path, leaf });
    const sealed = readDump(file.chunks(), { algorithm: repository.algorithm, dialect: "rs" });
    const lines: string[] = [];
    for (const change of diffTrees(sealed, tree)) {
      if (lines.length === SHOWN) return `${lines.join("; ")}; and more`;
      lines.push(changeText(change));
    }
    const shown = displayBytes(path);
    return lines.length === 0
      ? `${shown} does not differ from the image`
      : `compared with ${shown}: ${lines.join("; ")}`;
  } catch (error) {
    // It only explains another failure.
    if (error instanceof ComposefsError && ["invalid", "limit", "corrupt"].includes(error.code)) return undefined;
    throw error;
  }
}

function changeText({ change, path, fields }: EntryChange): string {
  if (change !== "changed") return `${path} was ${change}`;
  const text = fields.map(({ field, xattr, a, b }) => `${xattr ?? field} ${a ?? "none"} -> ${b ?? "none"}`);
  return `${path}: ${text.join(", ")}`;
}
