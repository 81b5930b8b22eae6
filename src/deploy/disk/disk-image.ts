// A disk image of a sysroot: objects sealed with fs-verity without a kernel, without root and without a virtual machine
// (docs/spec/vm-testing.md, section 8; boot entries after docs/spec/deployments.md, sections 2.6 and 3.1).

import { createHash, randomBytes } from "node:crypto";
import { closeSync, constants, existsSync, ftruncateSync, openSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { isObjectId } from "../../bytes/algorithm.ts";
import { utf8ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError, systemError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { META_FILE } from "../../repository/meta.ts";
import { Repository } from "../../repository/repository.ts";
import { replaceFile } from "../../runtime/replace-file.ts";
import { type LockWait, syscalls } from "../../runtime/syscalls.ts";
import { STATE_DIRECTORY } from "../open-sysroot.ts";
import { listDirectory } from "../sysroot-files.ts";
import { type BootText, bootedImages, checkBootTexts, readBootTexts, rootWishes } from "./boot-texts.ts";
import { type Ext4Plan, ext4Size, planExt4, type SealChoice } from "./ext4-plan.ts";
import { writeExt4 } from "./ext4-image.ts";
import { type FatPlan, fatSize, planFat, writeFat } from "./fat-image.ts";
import { ALIGNMENT, ESP_TYPE, type Partition, ROOT_TYPES, writeGpt } from "./gpt.ts";
import { readSourceTree } from "./source-tree.ts";
import { SparseOutput } from "./sparse-output.ts";

/** Options of {@link createDiskImage}. */
export interface DiskImageOptions {
  /** Whether the objects and `meta.json` get fs-verity; true when left out. What this machine can do has no say in it. */
  readonly seal?: boolean | undefined;
  /** A directory that becomes an EFI system partition beside the root file system. Without it the image is the file system alone. */
  readonly esp?: string | undefined;
  /** Bytes of the whole image; what is needed and 256 MiB beside when left out. */
  readonly size?: number | undefined;
  /** Bytes of the EFI system partition; three times its content, 512 MiB at least, when left out. */
  readonly espSize?: number | undefined;
  /** Label of the root file system; what the boot entries ask for, else `root`, when left out. */
  readonly label?: string | undefined;
  /** UUID of the root file system; what the boot entries ask for, else a new one, when left out. */
  readonly uuid?: string | undefined;
  /** GUID of the root partition; likewise. */
  readonly partitionUuid?: string | undefined;
  /** Architecture of the system, as OCI images name it; told from the boot loader in the ESP, else this machine's, when left out. */
  readonly architecture?: string | undefined;
  /** Owners: those of the sysroot (`keep`), or root wherever it is the caller or its group (`caller-is-root`); that, unless root calls. */
  readonly owner?: "keep" | "caller-is-root" | undefined;
  /**
   * The moment that counts as now, in seconds: no time in the image is later, and what would be random is derived from it, so that the
   * same content gives the same bytes. SOURCE_DATE_EPOCH is meant for it.
   */
  readonly epoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How to wait for others that change the deployments or collect garbage. */
  readonly lock?: LockWait | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** A disk image that was made. */
export interface DiskImage {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Files that have fs-verity. */
  readonly sealed: number;
  readonly inodes: number;
  /** Images that the boot entries name. */
  readonly images: readonly string[];
  readonly uuid: string;
  readonly label: string;
  /** GUID of the disk; undefined where the image is a file system alone. */
  readonly diskUuid: string | undefined;
  /** Empty where the image is a file system alone. */
  readonly partitions: readonly Partition[];
}

const FREE = 256 << 20;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LABEL_BYTES = 16;

/**
 * Makes a disk image of a sysroot, whole or not at all: it is written beside its place and renamed. Needs no root, no loop device and no
 * other program. Memory grows with the number of files, not with their size.
 *
 * @param sysroot holds `composefs` and `state`; nothing of it is changed
 * @param output path of the image
 * @throws ComposefsError `invalid` with the reason `E_INSECURE_ENTRY` for a boot entry that would not verify a sealed disk; `corrupt` for
 *   a damaged object; `no-space` when the size or this machine's disk is too small; `usage` for options that do not fit
 * @example
 * ```ts
 * const { uuid, sealed } = await createDiskImage("./sysroot", "disk.img", { esp: "./esp", epoch: 1_700_000_000 });
 * ```
 */
export async function createDiskImage(
  sysroot: string,
  output: string,
  options: DiskImageOptions = {},
): Promise<DiskImage> {
  const { signal, lock, esp, seal = true } = options;
  throwIfAborted(signal);
  const rootPath = checkPlaces(sysroot, output);
  using _lock = await lockDeployments(rootPath, signal, lock);
  await using repository = await Repository.open(join(rootPath, "composefs"), {
    write: false,
    noUpgrade: true,
    ...(signal && { signal }),
    ...(lock && { lock }),
  });
  const texts = [join(rootPath, "boot"), ...(esp === undefined ? [] : [esp])].flatMap(readBootTexts);
  checkBootTexts(texts, seal);
  const images = bootedImages(texts);
  warnOfImages(images, rootPath, options);
  const identity = chooseIdentity(texts, images, options);

  const tree = await readSourceTree(rootPath, {
    owner: ownerChoice(options.owner),
    latest: options.epoch,
    mountPoints: mountPoints(rootPath, esp),
    signal,
  });
  const plan = planExt4(tree, rootPath, seal ? objectSeals(repository) : () => undefined);
  const disk = layOut(plan, esp === undefined ? undefined : planFat(esp, options.epoch), identity, options);
  try {
    await replaceFile(output, (fd) => writeDisk(fd, disk, plan, rootPath, options));
  } catch (error) {
    if (error instanceof ComposefsError && error.code === "no-space" && error.hint === undefined)
      throw new ComposefsError("no-space", error.message, { cause: error, path: output, hint: "give a larger --size" });
    throw error;
  }
  return {
    path: output,
    size: disk.size,
    sealed: plan.sealed,
    inodes: plan.inodes,
    images,
    uuid: identity.uuid,
    label: identity.label,
    diskUuid: disk.esp && identity.diskUuid,
    partitions: disk.partitions,
  };
}

// An image inside of what it is made of would be part of itself. Answers where the sysroot really is.
function checkPlaces(sysroot: string, output: string): string {
  if (!existsSync(sysroot))
    throw new ComposefsError("not-found", `there is no directory ${sysroot}`, {
      path: sysroot,
      hint: "name the directory that holds composefs and state",
    });
  try {
    const rootPath = realpathSync(sysroot);
    if (isBelow(rootPath, realpathSync(dirname(resolve(output)))))
      throw new ComposefsError("usage", `${output} lies in the sysroot that it is to be made of`, {
        path: output,
        hint: "name a place outside of it with --output",
      });
    return rootPath;
  } catch (error) {
    throw systemError(error, `writing ${output}`, output);
  }
}

function isBelow(directory: string, path: string): boolean {
  const way = relative(directory, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`));
}

/** Keeps others from changing the deployments meanwhile. */
async function lockDeployments(
  rootPath: string,
  signal: AbortSignal | undefined,
  lock: LockWait | undefined,
): Promise<Disposable> {
  const path = join(rootPath, STATE_DIRECTORY);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return { [Symbol.dispose]: () => undefined };
  const fd = openSync(path, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0));
  try {
    await syscalls().flock(fd, "shared", { ...lock, ...(signal && { signal }) });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}

function warnOfImages(images: readonly string[], rootPath: string, { esp, onProgress }: DiskImageOptions): void {
  // A file system alone may have its entries in an ESP that is made elsewhere.
  if (images.length === 0 && esp !== undefined)
    onProgress?.({ type: "warning", message: "no boot entry names an image of the disk" });
  for (const id of images)
    if (!existsSync(join(rootPath, "composefs/images", id)))
      onProgress?.({
        type: "warning",
        message: `a boot entry names the image ${id}, which the repository does not have`,
      });
}

function objectSeals({ algorithm }: Repository): SealChoice {
  return (path) => {
    if (path === `composefs/${META_FILE}`) return { algorithm, id: undefined };
    const [, start = "", rest = ""] = /^composefs\/objects\/([0-9a-f]{2})\/([0-9a-f]+)$/.exec(path) ?? [];
    const id = start + rest;
    return isObjectId(id, algorithm) ? { algorithm, id } : undefined;
  };
}

function ownerChoice(choice: DiskImageOptions["owner"]): (id: number, kind: "user" | "group") => number {
  const [user, group] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  if ((choice ?? (user === 0 ? "keep" : "caller-is-root")) === "keep") return (id) => id;
  return (id, kind) => (id === (kind === "user" ? user : group) ? 0 : id);
}

// What is mounted in the sysroot gets a partition of its own; here it is a place to mount it.
function mountPoints(rootPath: string, esp: string | undefined): ReadonlySet<string> {
  if (esp === undefined || !existsSync(esp)) return new Set();
  const [root, mounted] = [realpathSync(rootPath), realpathSync(esp)];
  return isBelow(root, mounted) && root !== mounted ? new Set([utf8ByteString(relative(root, mounted))]) : new Set();
}

interface Identity {
  readonly uuid: string;
  readonly label: string;
  readonly partitionUuid: string;
  readonly espUuid: string;
  readonly diskUuid: string;
  readonly seconds: number;
}

function chooseIdentity(texts: readonly BootText[], images: readonly string[], options: DiskImageOptions): Identity {
  const wishes = rootWishes(texts);
  const seed =
    options.epoch === undefined
      ? randomBytes(32)
      : Buffer.from([options.epoch, ...images, options.uuid ?? ""].join("\n"));
  const choose = (given: string | undefined, wish: string | undefined, what: string, name: string) => {
    const value = given?.toLowerCase();
    if (value !== undefined && wish !== undefined && value !== wish)
      throw new ComposefsError("usage", `${name} ${given}: the boot entries look for root=${what}=${wish}`, {
        hint: `leave ${name} out, or install with another root=`,
      });
    const chosen = value ?? wish ?? derivedUuid(seed, what);
    if (!UUID.test(chosen))
      throw new ComposefsError("usage", `${value === undefined ? `root=${what}=` : `${name} `}${chosen}: not a UUID`, {
        hint: "UUIDs are written as 8-4-4-4-12 hex digits",
      });
    return chosen;
  };
  const label = options.label ?? wishes.label ?? "root";
  if (wishes.label !== undefined && label !== wishes.label)
    throw new ComposefsError("usage", `--label ${label}: the boot entries look for root=LABEL=${wishes.label}`, {
      hint: "leave --label out",
    });
  if (label.includes("\0") || Buffer.byteLength(label) > LABEL_BYTES)
    throw new ComposefsError("usage", `--label ${label}: a label has at most ${LABEL_BYTES} bytes`, {});
  if (wishes.partitionUuid !== undefined && options.esp === undefined)
    throw new ComposefsError(
      "usage",
      "the boot entries look for a partition (root=PARTUUID=), and without --esp there is none",
      {
        hint: "give --esp, or install with root=UUID= or root=LABEL=",
      },
    );
  return {
    uuid: choose(options.uuid, wishes.uuid, "UUID", "--uuid"),
    label,
    partitionUuid: choose(options.partitionUuid, wishes.partitionUuid, "PARTUUID", "--partition-uuid"),
    espUuid: derivedUuid(seed, "ESP"),
    diskUuid: derivedUuid(seed, "disk"),
    seconds: options.epoch ?? Math.floor(Date.now() / 1000),
  };
}

function derivedUuid(seed: Uint8Array, what: string): string {
  const bytes = createHash("sha256").update(seed).update(`\0${what}`).digest().subarray(0, 16);
  // Version 8: made in the maker's own way; variant of RFC 9562.
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

interface Disk {
  readonly size: number;
  readonly identity: Identity;
  readonly root: { readonly start: number; readonly size: number };
  readonly esp: { readonly start: number; readonly size: number; readonly plan: FatPlan } | undefined;
  readonly partitions: readonly Partition[];
}

function layOut(plan: Ext4Plan, fat: FatPlan | undefined, identity: Identity, options: DiskImageOptions): Disk {
  if (fat === undefined) {
    const size = wholeUnits(options.size ?? ext4Size(plan, FREE), "--size");
    checkRoom(plan, size, options, 0);
    return { size, identity, root: { start: 0, size }, esp: undefined, partitions: [] };
  }
  const espSize = wholeUnits(options.espSize ?? fatSize(fat), "--esp-size");
  // The tables of partitions at both ends.
  const others = espSize + 2 * ALIGNMENT;
  const size = wholeUnits(options.size ?? ext4Size(plan, FREE) + others, "--size");
  const rootSize = size - others;
  checkRoom(plan, rootSize, options, others);
  const esp = { start: ALIGNMENT, size: espSize };
  const root = { start: ALIGNMENT + espSize, size: rootSize };
  const partitions = [
    { type: ESP_TYPE, uuid: identity.espUuid, name: "EFI system partition", ...esp },
    { type: rootType(options), uuid: identity.partitionUuid, name: "root", ...root },
  ];
  return { size, identity, root, esp: { ...esp, plan: fat }, partitions };
}

function wholeUnits(size: number, option: string): number {
  if (Number.isSafeInteger(size) && size > 0 && size % ALIGNMENT === 0) return size;
  throw new ComposefsError("usage", `${option}: ${size} bytes are not a multiple of 1 MiB`, {
    hint: "sizes are written 512M or 8G",
  });
}

function checkRoom(plan: Ext4Plan, size: number, options: DiskImageOptions, others: number): void {
  const least = ext4Size(plan, 0);
  if (size >= least) return;
  throw new ComposefsError(
    "no-space",
    `the sysroot does not fit: it needs ${Math.ceil((least + others) / ALIGNMENT)} MiB`,
    {
      hint: options.size === undefined ? "free some space" : "give a larger --size, or leave it out",
    },
  );
}

/** Names of boot loaders in an ESP, for the architectures that have one. */
const REMOVABLE_LOADERS: Readonly<Record<string, string>> = {
  "bootia32.efi": "386",
  "bootx64.efi": "amd64",
  "bootarm.efi": "arm",
  "bootaa64.efi": "arm64",
  "bootloongarch64.efi": "loong64",
  "bootriscv64.efi": "riscv64",
};
const MACHINES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };

function rootType({ architecture, esp }: DiskImageOptions): string {
  const loaders =
    esp === undefined ? [] : (listDirectory(join(esp, "EFI/BOOT")) ?? listDirectory(join(esp, "EFI/boot")) ?? []);
  const found = [...new Set(loaders.map(({ name }) => REMOVABLE_LOADERS[name.toLowerCase()]).filter(Boolean))];
  const chosen = architecture ?? (found.length === 1 ? found[0] : undefined) ?? MACHINES[process.arch] ?? process.arch;
  const type = ROOT_TYPES[chosen];
  if (type !== undefined) return type;
  throw new ComposefsError("usage", `there is no type of root partitions for the architecture ${chosen}`, {
    hint: `give one of ${Object.keys(ROOT_TYPES).join(", ")} with --architecture`,
  });
}

async function writeDisk(
  fd: number,
  disk: Disk,
  plan: Ext4Plan,
  rootPath: string,
  { signal, onProgress }: DiskImageOptions,
): Promise<void> {
  const { identity, root, esp } = disk;
  const total = plan.bytes + (esp?.plan.bytes ?? 0);
  const id = rootPath;
  onProgress?.({ type: "start", id, kind: "image", label: "disk image", total });
  ftruncateSync(fd, disk.size);
  let before = 0;
  const onBytes = (done: number) => onProgress?.({ type: "advance", id, done: before + done, total });
  const { seconds } = identity;
  if (esp !== undefined) {
    await writeFat(new SparseOutput(fd, esp.start, esp.size), esp.plan, {
      size: esp.size,
      offset: esp.start,
      serial: Number.parseInt(identity.espUuid.slice(0, 8), 16),
      label: "ESP",
      seconds,
      signal,
      onBytes,
    });
    before = esp.plan.bytes;
  }
  await writeExt4(new SparseOutput(fd, root.start, root.size), plan, {
    size: root.size,
    uuid: Buffer.from(identity.uuid.replaceAll("-", ""), "hex"),
    label: Buffer.from(identity.label),
    seconds,
    rootPath,
    signal,
    onBytes,
  });
  if (esp !== undefined) writeGpt(new SparseOutput(fd, 0, disk.size), disk.size, identity.diskUuid, disk.partitions);
  throwIfAborted(signal);
  onProgress?.({ type: "done", id });
}
