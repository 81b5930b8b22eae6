// Does the steps of a plan for a boot directory, one after the other (docs/spec/boot.md, section 11). Files of the image are streamed,
// verified and hashed while they are copied.

import { blobHasher } from "../../core/blob-digest.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { parentOf, writeDurably } from "./durable.ts";
import type { BootFile } from "../resource.ts";
import type { BootStep, BootVolumeName } from "./steps.ts";
import type { BootVolume, OpenVolumeFile } from "./volume.ts";

/** The content of a file of the image, from its beginning. */
export interface OpenBootFile extends Disposable {
  /** In bytes. */
  readonly size: number;
  /**
   * The content in pieces of at most 1 MiB. A piece is valid until the next one. Throws at the end when the content was not what its
   * object id promises.
   */
  chunks(): Iterable<Uint8Array>;
}

/** Opens files of the image. */
export type OpenFile = (file: BootFile) => OpenBootFile;

/** Options of {@link carryOut}. */
export interface CarryOutOptions {
  readonly open: OpenFile;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What became of a step. */
export interface StepResult {
  readonly step: BootStep;
  /** `kept`: a file with the content was there already. `replaced`: another file had the name. */
  readonly result: "written" | "replaced" | "kept";
  /** Of copies and texts. */
  readonly size?: number;
  /** Of copies: hex SHA-256 of the content. */
  readonly sha256?: string;
}

/**
 * Carries out a plan. When it fails or is cut at a step, those before it are done and durable, those after it are not begun.
 *
 * @param volumes where the plan's names lie; loaders that read entries from the ESP have the same for both
 * @throws ComposefsError of the file system, `corrupt` for a damaged object, `aborted`
 */
export async function carryOut(
  volumes: Readonly<Partial<Record<BootVolumeName, BootVolume>>>,
  steps: readonly BootStep[],
  options: CarryOutOptions,
): Promise<StepResult[]> {
  const results: StepResult[] = [];
  for (const step of steps) {
    throwIfAborted(options.signal);
    const volume = volumes[step.on];
    if (volume === undefined) throw new TypeError(`no volume for ${step.on}`);
    results.push(await carryOutStep(volume, step, options));
  }
  return results;
}

async function carryOutStep(volume: BootVolume, step: BootStep, options: CarryOutOptions): Promise<StepResult> {
  if (step.do === "copy") return copy(volume, step, options);
  const bytes = Buffer.from(step.text);
  const result = newOrReplaced(volume, step.path);
  await writeDurably(volume, step.path, [bytes], options.signal);
  return { step, result, size: bytes.length };
}

async function copy(
  volume: BootVolume,
  step: BootStep & { do: "copy" },
  { open, signal, onProgress }: CarryOutOptions,
): Promise<StepResult> {
  using source = open(step.file);
  const { size } = source;
  const id = displayBytes(step.file.path);
  onProgress?.({ type: "start", id, kind: "copy", label: step.path, total: size });
  const known = await existingCopy(volume, step.path, source, signal);
  if (known !== undefined) {
    onProgress?.({ type: "done", id, skipped: true });
    return { step, result: "kept", size, sha256: known };
  }
  const hasher = await blobHasher("sha256");
  let done = 0;
  const hashed = function* () {
    for (const chunk of source.chunks()) {
      hasher.update(chunk);
      done += chunk.length;
      onProgress?.({ type: "advance", id, done, total: size });
      yield chunk;
    }
  };
  const result = newOrReplaced(volume, step.path);
  await writeDurably(volume, step.path, hashed(), signal);
  onProgress?.({ type: "done", id });
  return { step, result, size, sha256: hasher.digest("hex") };
}

function newOrReplaced(volume: BootVolume, path: string): "written" | "replaced" {
  return volume.mode(path) === undefined ? "written" : "replaced";
}

/**
 * The SHA-256 of a file that has the content already; it is durable then. An ESP needs no room for a second copy, and what boots is not
 * touched.
 */
async function existingCopy(
  volume: BootVolume,
  path: string,
  source: OpenBootFile,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const file = fileAt(volume, path);
  if (file === undefined) return undefined;
  using existing = file;
  if (existing.size !== source.size) return undefined;
  const digest = await hashOf(existing.chunks(), signal);
  if (digest !== (await hashOf(source.chunks(), signal))) return undefined;
  existing.sync();
  volume.sync(parentOf(path));
  return digest;
}

async function hashOf(chunks: Iterable<Uint8Array>, signal: AbortSignal | undefined): Promise<string> {
  const hasher = await blobHasher("sha256");
  for (const chunk of chunks) {
    throwIfAborted(signal);
    hasher.update(chunk);
  }
  return hasher.digest("hex");
}

function fileAt(volume: BootVolume, path: string): OpenVolumeFile | undefined {
  try {
    return volume.open(path);
  } catch {
    // Whatever it is, it is not the file: writing it says what is wrong.
    return undefined;
  }
}
