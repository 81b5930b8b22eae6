// `composefs deploy disk` (docs/spec/vm-testing.md, section 8)

import type { DiskImage, DiskImageOptions } from "../../index.ts";
import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";
import { formatSize, parseSize } from "../size.ts";

export const deployDisk: Command = {
  name: "deploy disk",
  summary: "make a disk image of a sysroot whose objects are sealed, without root, loop device or virtual machine",
  description:
    "Writes an ext4 file system in which every object and meta.json carry fs-verity, as if a kernel had enabled it there: the disk boots " +
    "with verification from the first time on. With --esp a whole disk: partition table, EFI system partition, root partition of the " +
    "type that systemd finds. Each object is checked while it is written, and so are the boot entries: none of a sealed disk may say " +
    "that it boots without verification (composefs=?...). UUID and label are those that the entries ask for in root=. The image is a " +
    "sparse file that appears when it is complete. With SOURCE_DATE_EPOCH the same sysroot gives the same bytes.",
  arguments: [
    { name: "SYSROOT", description: "holds composefs and state; nothing of it is changed", completes: "directory" },
  ],
  options: [
    { name: "output", value: "FILE", description: "the image; replaces a file of that name", completes: "file" },
    {
      name: "esp",
      value: "DIR",
      description: "make a disk with this as its EFI system partition",
      completes: "directory",
    },
    { name: "size", value: "SIZE", description: "of the image, as in 8G; what is needed and 256 MiB when left out" },
    {
      name: "esp-size",
      value: "SIZE",
      description: "of the ESP; three times its content, at least 512M, when left out",
    },
    {
      name: "label",
      value: "TEXT",
      description: "of the root file system; as the entries say, else root, when left out",
    },
    {
      name: "uuid",
      value: "UUID",
      description: "of the root file system; as the entries say, else a new one, when left out",
    },
    { name: "partition-uuid", value: "UUID", description: "of the root partition; likewise" },
    {
      name: "architecture",
      value: "NAME",
      description: "as in OCI images; told from the boot loader in the ESP when left out",
    },
    {
      name: "owner",
      value: "HOW",
      choices: ["keep", "caller-is-root"],
      description: "files of the caller belong to root; owners are kept when root runs it, when left out",
    },
    { name: "seal", description: "objects get fs-verity; so it is when left out" },
    { name: "no-seal", description: "no file gets fs-verity; then no entry may ask for it" },
  ],
  examples: [
    { line: "deploy disk ./sysroot --output disk.img", says: "a sealed file system" },
    {
      line: "deploy disk ./sysroot --esp ./esp --size 8G --output disk.img",
      says: "a disk of 8 GiB that boots by UEFI",
    },
  ],
  interrupted: "interrupted; no image was written",
  async run({ args, text, flag, global, out, signal, progress, lock }) {
    const [sysroot = ""] = args;
    const output = text("output");
    if (output === undefined)
      throw new UsageError("deploy disk needs --output", "name the image that is to be written");
    if (flag("seal") && flag("no-seal"))
      throw new UsageError("--seal and --no-seal exclude each other", "give one of them");
    const { createDiskImage } = await import("../../deploy/disk/disk-image.ts");
    const image = await createDiskImage(sysroot, output, {
      seal: !flag("no-seal"),
      esp: text("esp"),
      size: size("size", text("size")),
      espSize: size("esp-size", text("esp-size")),
      label: text("label"),
      uuid: text("uuid"),
      partitionUuid: text("partition-uuid"),
      architecture: text("architecture"),
      owner: text("owner") as DiskImageOptions["owner"],
      epoch: sourceDateEpoch(),
      signal,
      lock: lock(sysroot),
      onProgress: progress,
    });
    await (global.json ? out.json(asJson(image)) : out.write(asText(image)));
  },
};

function size(option: string, value: string | undefined): number | undefined {
  const bytes = value === undefined ? undefined : parseSize(value);
  if (value !== undefined && bytes === undefined)
    throw new UsageError(`--${option} ${value}: not a size`, "sizes are written 512M or 8G");
  return bytes;
}

function sourceDateEpoch(): number | undefined {
  const value = process.env["SOURCE_DATE_EPOCH"];
  if (value === undefined || value === "") return undefined;
  if (/^\d{1,11}$/.test(value)) return Number(value);
  throw new UsageError(`SOURCE_DATE_EPOCH is "${value}"`, "it is a number of seconds since 1970");
}

// Stable lines: key, then the value in column 10.
function asText({ path, size: bytes, uuid, label, sealed, images, partitions }: DiskImage): string {
  const lines = [
    `disk     ${path}`,
    `size     ${formatSize(bytes)}`,
    `uuid     ${uuid}`,
    `label    ${label}`,
    `sealed   ${sealed} ${sealed === 1 ? "file" : "files"}`,
    ...images.map((id) => `boots    ${id}`),
    ...partitions.map(({ name, uuid: partition, size: room }) => `part     ${partition} ${formatSize(room)} ${name}`),
  ];
  return `${lines.join("\n")}\n`;
}

function asJson(image: DiskImage): object {
  return {
    path: image.path,
    size: image.size,
    uuid: image.uuid,
    label: image.label,
    sealed: image.sealed,
    inodes: image.inodes,
    images: image.images,
    disk_uuid: image.diskUuid ?? null,
    partitions: image.partitions,
  };
}
