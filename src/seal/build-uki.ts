// A UKI or an addon out of files, signed if asked for, without any image (docs/spec/boot.md, section 5).

import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FileSource, openFileSource } from "../boot/file-source.ts";
import { kernelVersionOf } from "../boot/uki/kernel-version.ts";
import { type PePlan, planAddon, planUki } from "../boot/uki/write.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import { replaceFile } from "../runtime/replace-file.ts";
import { makePe } from "./make-pe.ts";
import { checkSigningCommand, type SigningCommand } from "./sign.ts";

/** What goes into the file: paths, but for the texts. A UKI has a kernel, an addon has none. */
export interface UkiFiles {
  readonly stub: string;
  readonly kernel?: string | undefined;
  readonly initramfs?: readonly string[] | undefined;
  readonly commandLine?: string | undefined;
  readonly osRelease?: string | undefined;
  /** A text; what the kernel says it is when left out. */
  readonly kernelVersion?: string | undefined;
  readonly splash?: string | undefined;
  readonly devicetree?: string | undefined;
  readonly microcode?: string | undefined;
  readonly sbat?: string | undefined;
  readonly pcrPublicKey?: string | undefined;
  readonly pcrSignature?: string | undefined;
}

/** Options of {@link buildUki}. */
export interface BuildUkiOptions {
  readonly sign?: SigningCommand | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What {@link buildUki} made. */
export interface BuiltUki {
  readonly path: string;
  readonly kind: "uki" | "addon";
  /** In bytes, signatures included. */
  readonly size: number;
  readonly signed: boolean;
  readonly kernelVersion: string | undefined;
  readonly warnings: readonly string[];
}

/** Largest of the small parts in bytes. */
const SMALL = 64 << 20;

/**
 * Builds the file. It takes its place when it is complete, checked and on the disk.
 *
 * @throws ComposefsError as `planUki` and the signing command; an old file is then as it was
 * @example
 * ```ts
 * await buildUki("os.efi", { stub: "linuxx64.efi.stub", kernel: "vmlinuz", initramfs: ["initramfs.img"], commandLine: "quiet" });
 * ```
 */
export async function buildUki(path: string, files: UkiFiles, options: BuildUkiOptions = {}): Promise<BuiltUki> {
  const { sign, signal, onProgress } = options;
  if (sign !== undefined) checkSigningCommand(sign);
  const open: FileSource[] = [];
  const directory = mkdtempSync(join(tmpdir(), "composefs-uki-"));
  try {
    const source = (name: string): FileSource => {
      const file = openFileSource(name);
      open.push(file);
      return file;
    };
    const { plan, kernelVersion } = planOf(files, source);
    for (const message of plan.warnings) onProgress?.({ type: "warning", message });
    const made = await makePe(plan, directory, "built", path, options);
    await copyFile(source(made.path), path, signal);
    const { size, signed } = made;
    const kind = files.kernel === undefined ? "addon" : "uki";
    return { path, kind, size, signed, kernelVersion, warnings: plan.warnings };
  } finally {
    for (const file of open) file[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  }
}

function planOf(
  files: UkiFiles,
  source: (name: string) => FileSource,
): { plan: PePlan; kernelVersion: string | undefined } {
  const large = <N extends string>(part: N, name: string | undefined) =>
    (name === undefined ? {} : { [part]: source(name) }) as Partial<Record<N, FileSource>>;
  const small = <N extends string>(part: N, name: string | undefined) =>
    (name === undefined ? {} : { [part]: whole(source(name)) }) as Partial<Record<N, Uint8Array>>;
  const stub = { bytes: whole(source(files.stub)), name: files.stub };
  const common = {
    stub,
    ...(files.commandLine === undefined ? {} : { commandLine: files.commandLine }),
    ...large("devicetree", files.devicetree),
    ...large("microcode", files.microcode),
    ...small("sbat", files.sbat),
  };
  const version = (text: string | undefined) => (text === undefined ? {} : { kernelVersion: text });
  if (files.kernel === undefined) {
    return { plan: planAddon({ ...common, ...version(files.kernelVersion) }), kernelVersion: files.kernelVersion };
  }
  const kernel = source(files.kernel);
  const kernelVersion = files.kernelVersion ?? kernelVersionOf(kernel);
  const plan = planUki({
    ...common,
    kernel,
    initramfs: (files.initramfs ?? []).map(source),
    ...version(kernelVersion),
    ...small("osRelease", files.osRelease),
    ...large("splash", files.splash),
    ...small("pcrPublicKey", files.pcrPublicKey),
    ...small("pcrSignature", files.pcrSignature),
  });
  return { plan, kernelVersion };
}

function whole(file: FileSource): Uint8Array {
  if (file.size > SMALL) {
    throw new ComposefsError("limit", `${file.path} has ${file.size} bytes; at most ${SMALL} are read`, {
      path: file.path,
    });
  }
  return file.read(0, file.size);
}

const CHUNK = 1 << 20;

async function copyFile(from: FileSource, to: string, signal: AbortSignal | undefined): Promise<void> {
  await replaceFile(to, (fd) => {
    for (let at = 0; at < from.size; at += CHUNK) {
      throwIfAborted(signal);
      const bytes = from.read(at, Math.min(CHUNK, from.size - at));
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    }
  });
}
