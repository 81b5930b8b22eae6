// Unified kernel images and addons out of systemd's stub and their parts (docs/spec/boot.md, section 5): the sections in the
// order of `ukify`, the kernel last so that it may grow into the memory behind it. The same parts give the same bytes.

import { writeSync } from "node:fs";
import type { ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { replaceFile } from "../../runtime/replace-file.ts";
import { bytesSource, PeFile, type PeSource } from "../pe/read.ts";
import { appendedChunks, type AppendPlan, type NewSection, planAppend } from "../pe/append.ts";
import { PeChecksum } from "../pe/image.ts";

/** systemd's stub, whole: `linuxx64.efi.stub` for images, `addonx64.efi.stub` for addons. */
export interface Stub {
  readonly bytes: Uint8Array;
  /** What it is called in messages. */
  readonly name: string;
}

/** The parts of a unified kernel image. */
export interface UkiParts {
  readonly stub: Stub;
  readonly kernel: PeSource;
  /** One after the other, each on a multiple of four bytes as the kernel wants it. */
  readonly initramfs?: readonly PeSource[];
  readonly commandLine?: string;
  readonly osRelease?: Uint8Array;
  /** What `uname -r` will print. */
  readonly kernelVersion?: string;
  /** A BMP picture. */
  readonly splash?: PeSource;
  readonly devicetree?: PeSource;
  readonly microcode?: PeSource;
  /** Public key and signatures for TPM policies, as `systemd-measure` and `ukify` make them. */
  readonly pcrPublicKey?: Uint8Array;
  readonly pcrSignature?: Uint8Array;
  /** Revocation data of shim; the stub's own counts when left out. */
  readonly sbat?: Uint8Array;
}

/** The parts of an addon: what extends the command line of an image it lies beside. */
export interface AddonParts {
  readonly stub: Stub;
  readonly commandLine?: string;
  readonly devicetree?: PeSource;
  readonly microcode?: PeSource;
  readonly kernelVersion?: string;
  readonly sbat?: Uint8Array;
}

/** A file that has been planned, and what is odd about it. */
export interface PePlan extends AppendPlan {
  readonly warnings: readonly string[];
}

/** The longest command line that x86 kernels take is 2047 bytes; others take as much or less. */
const KERNEL_LIMIT = 2047;

/** Sections that only a finished image has. */
const OF_AN_IMAGE = [".linux", ".initrd", ".cmdline", ".osrel", ".uname"];

/**
 * Plans a unified kernel image.
 *
 * @throws ComposefsError as `planAppend`; `invalid` when the stub is an image already, when the kernel is for another
 *   processor than the stub, or a text holds a NUL
 * @example
 * ```ts
 * using kernel = openFileSource("/boot/vmlinuz");
 * const stub = { bytes: readFileSync(path), name: path };
 * await writePe(planUki({ stub, kernel, commandLine: "quiet" }), "linux.efi");
 * ```
 */
export function planUki(parts: UkiParts): PePlan {
  const { stub, kernel } = parts;
  const warnings = checkKernel(stub, kernel);
  if (parts.commandLine !== undefined) {
    const length = Buffer.byteLength(parts.commandLine);
    if (length > KERNEL_LIMIT) warnings.push(`the command line has ${length} bytes, kernels take ${KERNEL_LIMIT}`);
  }
  const initramfs = parts.initramfs ?? [];
  return plan(
    stub,
    [
      section(".osrel", parts.osRelease),
      section(".cmdline", text(parts.commandLine, "the command line")),
      section(".dtb", parts.devicetree),
      section(".uname", text(parts.kernelVersion, "the kernel version")),
      section(".splash", parts.splash),
      section(".pcrpkey", parts.pcrPublicKey),
      section(".sbat", parts.sbat),
      section(".initrd", initramfs.length === 0 ? undefined : joined(initramfs)),
      section(".ucode", parts.microcode),
      section(".pcrsig", parts.pcrSignature),
      [{ name: ".linux", content: kernel, executable: true }],
    ].flat(),
    warnings,
  );
}

/**
 * Plans an addon.
 *
 * @throws ComposefsError as {@link planUki}; `usage` when there is nothing in it
 */
export function planAddon(parts: AddonParts): PePlan {
  const sections = [
    section(".cmdline", text(parts.commandLine, "the command line")),
    section(".dtb", parts.devicetree),
    section(".ucode", parts.microcode),
    section(".uname", text(parts.kernelVersion, "the kernel version")),
    section(".sbat", parts.sbat),
  ].flat();
  if (!sections.some(({ name }) => name === ".cmdline" || name === ".dtb" || name === ".ucode")) {
    throw new ComposefsError("usage", "the addon would add nothing", {
      hint: "give it a command line, a device tree or microcode",
    });
  }
  return plan(parts.stub, sections, []);
}

/**
 * Writes a planned file; it takes its place when it is complete and on the disk.
 *
 * @returns its size in bytes
 * @throws ComposefsError for what the operating system refuses, `aborted`, and what reading the parts causes
 */
export async function writePe(pe: AppendPlan, path: string, signal?: AbortSignal): Promise<number> {
  await replaceFile(path, (fd) => {
    const checksum = new PeChecksum();
    let position = 0;
    for (const chunk of appendedChunks(pe, signal)) {
      checksum.update(chunk);
      position = writeAll(fd, chunk, position);
    }
    writeAll(fd, checksumBytes(checksum), pe.checksumAt);
  });
  return pe.size;
}

/** A planned file in memory: for small ones. */
export function peBytes(pe: AppendPlan): Uint8Array {
  const bytes = new Uint8Array(pe.size);
  let position = 0;
  for (const chunk of appendedChunks(pe)) {
    bytes.set(chunk, position);
    position += chunk.length;
  }
  const checksum = new PeChecksum();
  checksum.update(bytes);
  bytes.set(checksumBytes(checksum), pe.checksumAt);
  return bytes;
}

/** Several sources after one another, each beginning on a multiple of four bytes, with zeros between. */
export function joined(sources: readonly PeSource[]): PeSource {
  const [only] = sources;
  if (only !== undefined && sources.length === 1) return only;
  const starts: number[] = [];
  let size = 0;
  for (const source of sources) {
    size = Math.ceil(size / 4) * 4;
    starts.push(size);
    size += source.size;
  }
  return {
    size,
    read(position, length) {
      const result = new Uint8Array(Math.max(0, Math.min(length, size - position)));
      for (const [index, source] of sources.entries()) {
        const start = starts[index] as number;
        const from = Math.max(position, start);
        const to = Math.min(position + result.length, start + source.size);
        if (from < to) result.set(source.read(from - start, to - from), from - position);
      }
      return result;
    },
  };
}

function plan(stub: Stub, sections: readonly NewSection[], warnings: readonly string[]): PePlan {
  const base = PeFile.read(bytesSource(stub.bytes), stub.name);
  const finished = OF_AN_IMAGE.find((name) => base.has(name));
  if (finished !== undefined) {
    throw new ComposefsError("invalid", `${stub.name} is no stub: it has a section ${finished} already`, {
      path: stub.name,
      hint: "give the stub of systemd, such as /usr/lib/systemd/boot/efi/linuxx64.efi.stub",
    });
  }
  const twice = sections.find(({ name }) => base.has(name));
  if (twice !== undefined) {
    throw new ComposefsError("unsupported", `${stub.name} has a section ${twice.name} of its own, which would count`, {
      path: stub.name,
      hint: `leave ${twice.name} out, or use a stub without it`,
    });
  }
  return { ...planAppend(stub.bytes, sections, stub.name), warnings };
}

function section(name: ByteString, content: Uint8Array | PeSource | undefined): NewSection[] {
  if (content === undefined) return [];
  return [{ name, content: content instanceof Uint8Array ? bytesSource(content) : content }];
}

function text(value: string | undefined, what: string): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (value.includes("\0")) {
    throw new ComposefsError("invalid", `${what} contains a NUL`, { hint: "whoever reads it would stop there" });
  }
  return Buffer.from(value, "utf8");
}

/** The kernel must be for the stub's processor; one without an EFI stub of its own may boot or not. */
function checkKernel(stub: Stub, kernel: PeSource): string[] {
  const base = PeFile.read(bytesSource(stub.bytes), stub.name);
  let pe: PeFile;
  try {
    pe = PeFile.read(kernel, "the kernel");
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.reason !== "uki-not-pe") throw error;
    return ["the kernel has no EFI stub of its own, which current stubs need to start it"];
  }
  if (pe.machine === base.machine) return [];
  throw new ComposefsError(
    "invalid",
    `the kernel is for ${processor(pe)} and the stub ${stub.name} for ${processor(base)}`,
    { path: stub.name, hint: "take the stub that belongs to the kernel's processor" },
  );
}

function processor(pe: PeFile): string {
  return pe.architecture ?? `machine 0x${pe.machine.toString(16)}`;
}

function checksumBytes(checksum: PeChecksum): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, checksum.digest(), true);
  return bytes;
}

function writeAll(fd: number, bytes: Uint8Array, position: number): number {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  return position + bytes.length;
}
