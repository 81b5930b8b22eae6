// What an image can be booted with, as found in its tree (docs/spec/boot.md, section 6): the interface between discovery
// (discover.ts) and those that write boot entries and UKIs.

import type { ByteString } from "../bytes/byte-string.ts";
import type { Leaf } from "../tree/node.ts";

/** A file of the tree that a boot loader or kernel reads. */
export interface BootFile {
  /** Its absolute path in the tree. */
  readonly path: ByteString;
  /** A regular file: inline or external content. */
  readonly leaf: Leaf;
}

/** A boot loader entry of the image, `/boot/loader/entries/*.conf`, and the files that it names. */
export interface EntryResource {
  readonly kind: "type1";
  /** The name of the entry file, with `.conf`. */
  readonly filename: ByteString;
  /** Split at LF without the final newline; CR, comments and unknown lines kept. */
  readonly lines: readonly string[];
  /** Value of a `linux`, `initrd` or `efi` line, as it is written there, to the file at that path in the tree. */
  readonly files: ReadonlyMap<string, BootFile>;
}

/** A PE file for systemd's stub: a unified kernel image or an addon. */
export interface PeResource {
  readonly kind: "type2";
  readonly type: "uki" | "addon" | "global-addon";
  /** The kernel version of the directory below `/usr/lib/modules`; undefined below `/boot`. */
  readonly kernel: ByteString | undefined;
  /** The path relative to the directory that discovery started from. */
  readonly relative: ByteString;
  readonly file: BootFile;
}

/** A plain kernel, `/usr/lib/modules/VERSION/vmlinuz`. */
export interface KernelResource {
  readonly kind: "vmlinuz";
  /** The kernel version: the name of its directory. */
  readonly kernel: string;
  readonly vmlinuz: BootFile;
  readonly initramfs: BootFile | undefined;
  /** `/usr/lib/os-release` (or `/etc/os-release`) of the tree; nothing in an entry depends on it unless asked for. */
  readonly osRelease: BootFile | undefined;
}

/** One thing that discovery found. */
export type BootResource = EntryResource | PeResource | KernelResource;

/** How bodies of files are read: whole for small ones; the caller bounds the size. */
export type ReadFile = (file: BootFile) => Promise<Uint8Array> | Uint8Array;
