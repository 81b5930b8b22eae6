// Small images that can be deployed, for tests of the operations: a kernel or a UKI, /etc, /var and what else a test wants.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { uki } from "../fixtures/boot-layouts.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar, type TarEntry } from "../fixtures/tar.ts";

/** What is in an image. */
export interface HostImageParts {
  readonly version: string;
  /** Differs where the kernels of two images are to differ. */
  readonly kernel?: string;
  /** Files of /etc by name, instead of one that says the version. */
  readonly etc?: Readonly<Record<string, string>>;
  /** Text of a file of kargs.d. */
  readonly kargs?: string;
  /** Further entries. */
  readonly more?: readonly TarEntry[];
  /** The command line of a UKI, which takes the place of the kernel. */
  readonly uki?: string;
  /** Nothing to boot. */
  readonly bootless?: boolean;
}

const DIRECTORIES =
  "usr usr/lib usr/lib/modules usr/lib/modules/6.1 usr/lib/bootc usr/lib/bootc/kargs.d boot boot/EFI boot/EFI/Linux sysroot etc run var var/lib".split(
    " ",
  );

/** Writes a layout of such an image; resolves to the digest of its manifest. */
export function hostLayout(folder: string, parts: HostImageParts): string {
  const { version, kernel = "k", etc = { "version.conf": `${version}\n` }, kargs, more = [], bootless = false } = parts;
  const file = (path: string, content: string | Uint8Array): TarEntry => ({ path, content: Buffer.from(content) });
  const modules = "usr/lib/modules/6.1";
  const entries: TarEntry[] = [
    ...DIRECTORIES.map((path): TarEntry => ({ path: `${path}/`, type: "directory" })),
    file("usr/lib/os-release", `ID=demo\nPRETTY_NAME="Demo ${version}"\nVERSION_ID=${version}\n`),
    ...(bootless || parts.uki !== undefined
      ? []
      : [file(`${modules}/vmlinuz`, kernel.repeat(500)), file(`${modules}/initramfs.img`, `${kernel}i`.repeat(300))]),
    ...(parts.uki === undefined ? [] : [file("boot/EFI/Linux/demo.efi", uki(parts.uki))]),
    ...(kargs === undefined ? [] : [file("usr/lib/bootc/kargs.d/10.toml", kargs)]),
    ...Object.entries(etc).map(([name, text]) => file(`etc/${name}`, text)),
    file("var/lib/seed", `${version}\n`),
    ...more,
  ];
  rmSync(folder, { recursive: true, force: true });
  return writeLayout(folder, "latest", [{ tar: tar(entries), compression: "none" }]).manifestDigest;
}

/** The same with a UKI that boots the image. */
export async function sealedHostLayout(
  folder: string,
  parts: HostImageParts,
  { algorithm, format }: { readonly algorithm: Algorithm; readonly format: 1 | 2 },
): Promise<string> {
  const scratch = mkdtempSync(join(tmpdir(), "composefs-boot-id-"));
  try {
    // What lies in /boot is no part of the boot image.
    hostLayout(folder, { ...parts, bootless: true });
    await Repository.init(scratch, { algorithm, insecure: true });
    await using repository = await Repository.open(scratch, { write: true });
    const { bootImages } = await pull(repository, `oci:${folder}`, { bootable: true, formats: [format] });
    return hostLayout(folder, { ...parts, uki: `rw composefs=${bootImages[0]?.id}` });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
