// The ways to make an image of one tree that people mix up: transform, xattr mode, format, writer. Each gives another id
// (docs/spec/boot.md, 2 and 17; docs/spec/erofs.md, 16).

import { type BootableOptions, bootableTransform } from "../boot/bootable-transform.ts";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { type Dialect, type FormatVersion, imageId } from "../image/write.ts";
import { cloneTree } from "../tree/clone.ts";
import { containerTransform } from "../tree/container-transform.ts";
import type { Directory } from "../tree/node.ts";
import { XATTR_MODES, type XattrMode } from "../tree/xattr-filter.ts";

/** What is done to the tree before its image is written. */
export type TransformName = "none" | "container" | "bootable";

/** How the tree is prepared: the transform, and which xattrs it keeps; `none` keeps all. */
export interface Preparation {
  readonly transform: TransformName;
  readonly xattrs: XattrMode | "all";
}

/** One way to make an image. */
export interface Variant extends Preparation {
  readonly algorithm: Algorithm;
  readonly format: FormatVersion;
  /** Whose writer: `rs` is `cfsctl`'s and ours, `c` that of `mkcomposefs`. */
  readonly dialect: Dialect;
}

/** Every preparation, the likeliest first. */
export const PREPARATIONS: readonly Preparation[] = [
  ...XATTR_MODES.map((xattrs) => ({ transform: "bootable" as const, xattrs })),
  ...XATTR_MODES.map((xattrs) => ({ transform: "container" as const, xattrs })),
  { transform: "none", xattrs: "all" },
];

/**
 * A prepared copy of the tree.
 *
 * @throws ComposefsError when the transform refuses the tree
 */
export async function prepare(
  root: Directory,
  { transform, xattrs }: Preparation,
  boot: BootableOptions,
): Promise<Directory> {
  const tree = cloneTree(root);
  if (transform === "none") return tree;
  containerTransform(tree, xattrs === "all" ? undefined : xattrs);
  if (transform === "bootable") await bootableTransform(tree, boot);
  return tree;
}

/** A writer: the format that it is asked for, and whose it is. */
export interface Writer {
  readonly format: FormatVersion;
  readonly dialect: Dialect;
}

/** Every writer, the likeliest first: `format` if the digest says which one it is of. */
export function writers(format: FormatVersion | undefined): Writer[] {
  const formats: FormatVersion[] = [2, 1, 0];
  const ordered = format === undefined ? formats : [format, ...formats.filter((other) => other !== format)];
  const rs = ordered.map((version): Writer => ({ format: version, dialect: "rs" }));
  const c = ordered.filter((version) => version !== 2).map((version): Writer => ({ format: version, dialect: "c" }));
  return [...rs, ...c];
}

/** The id that a prepared tree has. */
export function preparedId(tree: Directory, algorithm: Algorithm, { format, dialect }: Writer): ObjectId {
  return imageId(tree, { version: format, algorithm, dialect }).id;
}

/** A preparation in words: `bootable, xattrs allowlist-only`. */
export function describePreparation({ transform, xattrs }: Preparation): string {
  return transform === "none" ? "as it is" : `${transform}, xattrs ${xattrs}`;
}

/** A variant in words: `format 2, sha512, bootable, xattrs allowlist-only`. */
export function describeVariant(variant: Variant): string {
  const { format, algorithm, dialect } = variant;
  const made = dialect === "c" ? ", as mkcomposefs writes it" : "";
  return `format ${format}, ${algorithm}, ${describePreparation(variant)}${made}`;
}
