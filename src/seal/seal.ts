// From an image to a sealed one (docs/spec/boot.md, sections 2, 5 and 14): a UKI with the digest of the image on its command line goes
// into the image's /boot, whose content is no part of that digest. Nothing of the result is visible before all of it is right.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { checkUkiDigest } from "../boot/composefs-argument.ts";
import { discoverBootResources } from "../boot/discover.ts";
import { type FileSource, openFileSource } from "../boot/file-source.ts";
import { PeFile } from "../boot/pe.ts";
import { readPeImage } from "../boot/pe-image.ts";
import { holdsPlanned } from "../boot/pe-payload.ts";
import type { ReadFile } from "../boot/resource.ts";
import { ukiCommandLine } from "../boot/uki.ts";
import { type PePlan, writePe } from "../boot/uki-write.ts";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { measureFile } from "../core/measure.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { buildTree } from "../oci/build-image.ts";
import type { Digest } from "../oci/digest.ts";
import type { LayerEntry } from "../oci/layer/read.ts";
import type { Platform } from "../oci/platform.ts";
import { requireContainer } from "../oci/stored-image.ts";
import type { NewTarEntry } from "../oci/tar-write.ts";
import type { ProgressListener } from "../progress.ts";
import type { Directory } from "../tree/node.ts";
import type { XattrMode } from "../tree/xattr-filter.ts";
import { type Base, openBase, type SealSource } from "./base.ts";
import { type TreeIds, treeIds } from "./boot-ids.ts";
import { checkArguments, readImageKargs, sealedCommandLine } from "./command-line.ts";
import { checkOutput, type SealOutput, writeSealed } from "./output.ts";
import { planPartsUki } from "./part-files.ts";
import { chooseParts, type ChosenParts, type GivenParts, kernelArchitecture } from "./parts.ts";
import { makeSealedImage, type SealedImage } from "./sealed-image.ts";
import { checkSigningCommand, runSigningCommand, type SigningCommand, signsElsewhere } from "./sign.ts";
import { checkPlace, ukiLayer } from "./uki-layer.ts";

/** Options of {@link sealImage}; all of them have defaults. */
export interface SealOptions extends GivenParts {
  /** Hash of the digest for images that are not in a repository; sha512 when left out. */
  readonly algorithm?: Algorithm | undefined;
  /** Format of the image that is booted; 2 when left out, the one that bootc boots. */
  readonly version?: FormatVersion | undefined;
  /** Which xattrs the image keeps; `allowlist-only` when left out. */
  readonly xattrs?: XattrMode | undefined;
  /** Let the image boot where the file system has no fs-verity: a `?` before the digest. */
  readonly allowMissingVerity?: boolean | undefined;
  /** More kernel arguments. */
  readonly kernelArguments?: readonly string[] | undefined;
  /** Signs the UKI; unsigned when left out. */
  readonly sign?: SigningCommand | undefined;
  /** Where the UKI goes; `/boot/EFI/Linux/VERSION.efi` when left out. */
  readonly ukiPath?: string | undefined;
  /** Remove other UKIs below /boot. */
  readonly replace?: boolean | undefined;
  /** Which image of an index; the processor of a directory's image. */
  readonly platform?: Platform | undefined;
  /** Where temporary files go, as large as the image; the system's place when left out. */
  readonly temporaryDirectory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What will be sealed, and how: all that is known before the UKI exists. */
export interface SealPlan {
  readonly algorithm: Algorithm;
  readonly version: FormatVersion;
  /** The image that the UKI will boot. */
  readonly bootId: ObjectId;
  readonly kernelVersion: string;
  readonly commandLine: string;
  readonly parts: ChosenParts;
  /** Where the UKI goes in the image. */
  readonly ukiPath: string;
  /** Size of the UKI in bytes, without signatures. */
  readonly ukiSize: number;
  /** UKIs that it replaces. */
  readonly replaced: readonly string[];
  readonly warnings: readonly string[];
}

/** What {@link sealImage} made. */
export interface SealResult extends SealPlan {
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  /** The image without the boot transform: what the config's label says. */
  readonly imageId: ObjectId;
  /** Size in bytes with signatures. */
  readonly ukiSize: number;
  readonly signed: boolean;
}

/**
 * Seals an image and writes the result.
 *
 * @throws ComposefsError; an old output is then as it was
 * @example
 * ```ts
 * const { bootId } = await sealImage(
 *   { kind: "reference", reference: "oci:./os:v1" },
 *   { kind: "layout", directory: "./os", tag: "v1-sealed" },
 *   { kernelArguments: ["console=ttyS0"] },
 * );
 * ```
 */
export async function sealImage(
  source: SealSource,
  output: SealOutput,
  options: SealOptions = {},
): Promise<SealResult> {
  await checkOutput(output);
  return withBase(source, options, async (work) => {
    const uki = await assemble(work, options);
    using file = openFileSource(uki.path);
    const image = await checkedImage(work, file, options);
    await writeSealed(image, output, work.plan, options);
    const { plan } = work;
    return {
      ...plan,
      manifestDigest: image.manifest.digest,
      configDigest: image.config.digest,
      imageId: image.ids.label,
      ukiSize: uki.size,
      signed: uki.signed,
    };
  });
}

/**
 * What {@link sealImage} would do, without a UKI and an output.
 *
 * @throws ComposefsError as {@link sealImage}
 */
export async function planSeal(source: SealSource, options: SealOptions = {}): Promise<SealPlan> {
  return withBase(source, options, async ({ plan }) => plan);
}

/** All that is open during the work. */
interface Work {
  readonly directory: string;
  readonly base: Base;
  readonly readFile: ReadFile;
  readonly ids: TreeIds;
  readonly pe: PePlan;
  readonly plan: SealPlan;
  /** Entries of the new layer around the UKI. */
  readonly layer: (uki: FileSource) => NewTarEntry[];
}

async function withBase<T>(source: SealSource, options: SealOptions, use: (work: Work) => Promise<T>): Promise<T> {
  const { signal, onProgress, sign, platform } = options;
  if (sign !== undefined) checkSigningCommand(sign);
  checkArguments({ image: "", extra: options.kernelArguments ?? [] });
  const directory = mkdtempSync(join(options.temporaryDirectory ?? tmpdir(), "composefs-seal-"));
  try {
    const algorithm = source.kind === "stored" ? source.repository.algorithm : (options.algorithm ?? "sha512");
    await using base = await openBase(source, { algorithm, workDirectory: directory, platform, signal, onProgress });
    return await withPlan(base, directory, options, use);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function withPlan<T>(
  base: Base,
  directory: string,
  options: SealOptions,
  use: (work: Work) => Promise<T>,
): Promise<T> {
  const { signal, onProgress, version = 2 } = options;
  const { repository, image } = base;
  const { algorithm } = repository;
  const { architecture } = requireContainer(image);
  const readFile = repositoryBodies(repository);
  const tree = await mergedTree(base, [], options);
  const resources = await discoverBootResources(tree, readFile);
  const parts = chooseParts(tree, resources, architecture, options, existsSync);
  const ukiPath = options.ukiPath ?? `/boot/EFI/Linux/${parts.kernelVersion}.efi`;
  const removed = checkPlace(ukiPath, resources, options.replace ?? false);
  const kernelArguments = {
    image: await readImageKargs(tree, readFile, kernelArchitecture(architecture)),
    extra: options.kernelArguments ?? [],
  };
  checkArguments(kernelArguments);
  const beside = await mergedTree(base, [], options);
  onProgress?.({ type: "note", message: `computing the digest of the image (${algorithm}, format V${version})` });
  const ids = await treeIds(tree, { algorithm, version, readFile, signal });
  const insecure = options.allowMissingVerity ?? false;
  const commandLine = sealedCommandLine(kernelArguments, { version, digest: ids.boot, insecure });
  return planPartsUki(repository, parts, commandLine, signal, async (pe) => {
    const warnings = [...pe.warnings];
    if (resources.some(({ kind }) => kind === "type1"))
      warnings.push("the image has entries in /boot/loader/entries, which come before the UKI");
    for (const message of warnings) onProgress?.({ type: "warning", message });
    const plan: SealPlan = {
      algorithm,
      version,
      bootId: ids.boot,
      kernelVersion: parts.kernelVersion,
      commandLine,
      parts,
      ukiPath,
      ukiSize: pe.size,
      replaced: removed,
      warnings,
    };
    const layer = (uki: FileSource) => ukiLayer(beside, [{ path: ukiPath, content: uki }], removed);
    return use({ directory, base, readFile, ids, pe, plan, layer });
  });
}

/** The tree of the image with more entries on top. */
function mergedTree(base: Base, more: readonly LayerEntry[], options: SealOptions): Promise<Directory> {
  const { xattrs, signal } = options;
  const top = more.length === 0 ? [] : [{ digest: "the layer of the UKI", id: "", entries: more }];
  return buildTree(base.repository, [...base.image.layers, ...top], {
    signal,
    ...(xattrs === undefined ? {} : { xattrs }),
  });
}

interface Assembled {
  readonly path: string;
  readonly size: number;
  readonly signed: boolean;
}

/** Writes the UKI, has it signed, and looks whether it is still the same. */
async function assemble(work: Work, options: SealOptions): Promise<Assembled> {
  const { directory, pe, plan } = work;
  const { sign, signal, onProgress } = options;
  const unsigned = join(directory, "unsigned.efi");
  const id = plan.ukiPath;
  onProgress?.({ type: "start", id, kind: "image", label: `UKI ${plan.kernelVersion}`, total: pe.size });
  await writePe(pe, unsigned, signal);
  onProgress?.({ type: "done", id });
  if (sign === undefined) return { path: unsigned, size: pe.size, signed: false };
  const path = signsElsewhere(sign) ? join(directory, "signed.efi") : unsigned;
  onProgress?.({ type: "note", message: "signing the UKI" });
  await runSigningCommand(sign, unsigned, path, signal);
  if (!existsSync(path)) {
    throw new ComposefsError("io", `the signing command \`${sign.text}\` wrote nothing to {out}`, {
      hint: "does it write elsewhere? without {out} it must sign {in} in place",
    });
  }
  using file = openFileSource(path);
  const { signatureBytes } = readPeImage(file, "the signed UKI");
  if (signatureBytes === 0) {
    throw new ComposefsError("invalid", `the signing command \`${sign.text}\` left no signature`, {
      hint: "the firmware would refuse the UKI; run the command by hand to see what it does",
    });
  }
  if (!holdsPlanned(pe, file, "the signed UKI", signal)) {
    throw new ComposefsError("invalid", `the signing command \`${sign.text}\` changed more than the signature`, {
      hint: "what it left is not the UKI that it was given",
    });
  }
  return { path, size: file.size, signed: true };
}

/** The image with the UKI in it; refused when that changed the digest, or when the UKI names another one. */
async function checkedImage(work: Work, uki: FileSource, options: SealOptions): Promise<SealedImage> {
  const { base, plan, readFile } = work;
  const { signal } = options;
  const { algorithm, version } = plan;
  checkUkiDigest(ukiCommandLine(PeFile.read(uki, plan.ukiPath)), algorithm, [plan.bootId], plan.ukiPath);
  const entries = work.layer(uki);
  const { digest } = await measureFile(algorithm, uki.path, signal === undefined ? {} : { signal });
  const added = entries.map((entry) => mergeEntry(entry, digest));
  const ids = await treeIds(await mergedTree(base, added, options), { algorithm, version, readFile, signal });
  if (ids.boot !== plan.bootId) {
    throw new ComposefsError("digest-mismatch", `adding the UKI changed the digest of the image to ${ids.boot}`, {
      digest: plan.bootId,
      hint: "this is a fault of composefs; please report it",
    });
  }
  throwIfAborted(signal);
  return makeSealedImage(base, entries, ids, signal);
}

/** An entry as if it had been imported. */
function mergeEntry({ path, type, stat, content }: NewTarEntry, digest: ObjectId): LayerEntry {
  const size = content?.size ?? 0;
  const isFile = type === "file";
  return {
    path,
    type,
    stat,
    size,
    link: "",
    rdev: 0,
    offset: 0,
    content: !isFile
      ? undefined
      : content === undefined
        ? { kind: "inline", bytes: new Uint8Array() }
        : { kind: "external", size, digest },
  };
}
