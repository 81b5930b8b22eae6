// Disks of the guest, made and looked at from outside without mounting (docs/spec/vm-testing.md, section 6).

import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { program } from "./programs.ts";

const BLOCK = 4096;

/** Makes an empty ext4 file system; `data` can have fs-verity, `plain` cannot. */
export function makeDisk(image: string, label: "data" | "plain", size: string): void {
  const features = label === "data" ? ["-O", "verity"] : [];
  // Small file systems get blocks of 1 KiB otherwise, which fs-verity refuses.
  execFileSync(program("mke2fs"), ["-q", "-t", "ext4", ...features, "-b", String(BLOCK), "-L", label, image, size]);
}

/** What e2fsck finds wrong: nothing. */
export function diskFaults(image: string): string | undefined {
  const { status, stdout, stderr } = spawnSync(program("e2fsck"), ["-fn", image], { encoding: "utf8" });
  return status === 0 ? undefined : `${stdout}${stderr}`;
}

/**
 * Changes one bit of a file's data where it lies on the disk, which no file system notices.
 *
 * @param path of the file in the file system
 * @param offset of the byte in the file
 */
export function flipBit(image: string, path: string, offset: number): void {
  // debugfs ends with status 0 whatever happens: what it prints has to be a block.
  const said = execFileSync(program("debugfs"), ["-R", `bmap "${path}" ${Math.floor(offset / BLOCK)}`, image], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).trim();
  const block = Number(said);
  if (!/^\d+$/.test(said) || block === 0) throw new Error(`${path} has no block at ${offset}: ${said}`);
  const fd = openSync(image, "r+");
  try {
    const byte = new Uint8Array(1);
    const position = block * BLOCK + (offset % BLOCK);
    readSync(fd, byte, 0, 1, position);
    byte[0] = (byte[0] as number) ^ 1;
    writeSync(fd, byte, 0, 1, position);
  } finally {
    closeSync(fd);
  }
}
