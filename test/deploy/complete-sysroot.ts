// Sysroots whose deployments are complete, for tests that damage one thing: the images of the goldens, GRUB, kernels that are shared by
// nobody.

import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseBootEntry, writeBootEntry } from "../../src/boot/entry/bls.ts";
import { nameEntrySet } from "../../src/boot/entry/names.ts";
import { ownedTag } from "../../src/deploy/gc.ts";
import { pull } from "../../src/oci/pull.ts";
import { tagImage } from "../../src/oci/tags.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { write } from "./golden-sysroot.ts";

/** A deployment that is there. */
export interface CompleteDeployment {
  readonly id: string;
  readonly manifest: string;
  /** Of its image in the goldens. */
  readonly name: string;
}

/** Makes a sysroot with deployments of these images, the first of them the default. */
export async function completeSysroot(sysroot: string, names: readonly string[]): Promise<CompleteDeployment[]> {
  const path = join(sysroot, "composefs");
  const deployments: CompleteDeployment[] = [];
  mkdirSync(path, { recursive: true });
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  for (const name of names) {
    const source = `oci:${join(goldensDir("deploy"), "oci")}:${name}`;
    const { manifestDigest: manifest, bootImages } = await pull(repository, source, { tag: name, bootable: true });
    const id = bootImages[0]?.id ?? "";
    await tagImage(repository, `@${manifest}`, ownedTag(manifest));
    deployments.push({ id, manifest, name });
    writeDeployment(sysroot, deployments.at(-1) as CompleteDeployment);
  }
  const entries = deployments.map(({ id, name }, index) =>
    parseBootEntry(
      `title ${name}\nversion ${9 - index}\nlinux /boot/bootc_composefs-${id}/vmlinuz\n` +
        `initrd /boot/bootc_composefs-${id}/initrd\noptions rw composefs=?${id}\n`,
    ),
  );
  for (const { name, entry } of nameEntrySet("grub", "example", entries))
    write(join(sysroot, "boot/loader/entries", name), writeBootEntry(entry));
  return deployments;
}

function writeDeployment(sysroot: string, { id, manifest, name }: CompleteDeployment): void {
  const state = join(sysroot, "state/deploy", id);
  const digest = createHash("sha256").update(`kernel of ${name}initramfs of ${name}`).digest("hex");
  mkdirSync(join(state, "etc"), { recursive: true });
  mkdirSync(join(sysroot, "state/os/default/var"), { recursive: true });
  symlinkSync("../../os/default/var", join(state, "var"));
  writeFileSync(
    join(state, `${id}.origin`),
    `[origin]\ncontainer-image-reference = ostree-unverified-image:docker://q.x/${name}:1\n\n[boot]\nboot_type = bls\n` +
      `digest = ${digest}\n\n[image]\nmanifest_digest = ${manifest}\n`,
  );
  write(join(sysroot, `boot/bootc_composefs-${id}/vmlinuz`), `kernel of ${name}`);
  write(join(sysroot, `boot/bootc_composefs-${id}/initrd`), `initramfs of ${name}`);
}
