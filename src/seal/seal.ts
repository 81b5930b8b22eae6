// From an image to a sealed one (docs/spec/boot.md, sections 2, 5 and 14): a UKI with the digest of the image on its command line goes
// into the image's /boot, whose content is no part of that digest. Nothing of the result is visible before all of it is right.

import { checkUkiDigest } from "../boot/kargs/composefs-argument.ts";
import { type FileSource, openFileSource } from "../boot/file-source.ts";
import { PeFile } from "../boot/pe/read.ts";
import { ukiCommandLine } from "../boot/uki/uki.ts";
import type { ObjectId } from "../bytes/algorithm.ts";
import { measureFile } from "../core/measure.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { LayerEntry } from "../oci/layer/read.ts";
import type { NewTarEntry } from "../oci/tar-write.ts";
import type { SealSource } from "./base.ts";
import { treeIds } from "./boot-ids.ts";
import { type MadePe, makePe } from "./make-pe.ts";
import type { SealOptions, SealPlan, SealResult } from "./options.ts";
import { checkOutput, type SealOutput, writeSealed } from "./output.ts";
import { makeSealedImage, type SealedImage } from "./sealed-image.ts";
import { mergedTree, withWork, type Work } from "./work.ts";

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
  const stays = source.kind === "stored" && output.kind === "tag" && source.repository === output.repository;
  return withWork(source, options, async (work) => {
    const made: MadePe[] = [];
    for (const [index, { pe, path }] of work.files.entries()) {
      made.push(await makePe(pe, work.directory, String(index), path, options));
    }
    const [uki] = made as [MadePe];
    const files = made.map(({ path }) => openFileSource(path));
    try {
      const image = await checkedImage(work, files, stays, options);
      await writeSealed(image, output, work.plan, options);
      return {
        ...work.plan,
        manifestDigest: image.manifest.digest,
        configDigest: image.config.digest,
        imageId: image.ids.label,
        ukiSize: uki.size,
        signed: uki.signed,
      };
    } finally {
      for (const file of files) file[Symbol.dispose]();
    }
  });
}

/**
 * What {@link sealImage} would do, without a UKI and an output.
 *
 * @throws ComposefsError as {@link sealImage}
 */
export async function planSeal(source: SealSource, options: SealOptions = {}): Promise<SealPlan> {
  return withWork(source, options, async ({ plan }) => plan);
}

/** The image with the files in it; refused when they changed the digest, or when the UKI names another one. */
async function checkedImage(
  work: Work,
  files: readonly FileSource[],
  stays: boolean,
  options: SealOptions,
): Promise<SealedImage> {
  const { base, plan, readFile } = work;
  const { signal } = options;
  const { algorithm, version } = plan;
  const [uki] = files as [FileSource];
  checkUkiDigest(ukiCommandLine(PeFile.read(uki, plan.ukiPath)), algorithm, [plan.bootId], plan.ukiPath);
  const digests = new Map<unknown, ObjectId>();
  for (const file of files) {
    const { digest } = await measureFile(algorithm, file.path, signal === undefined ? {} : { signal });
    digests.set(file, digest);
  }
  const entries = work.layer(files);
  const added = entries.map((entry) => mergeEntry(entry, digests.get(entry.content)));
  const ids = await treeIds(await mergedTree(base, added, options), { algorithm, version, readFile, signal });
  if (ids.boot !== plan.bootId) {
    throw new ComposefsError("digest-mismatch", `adding the UKI changed the digest of the image to ${ids.boot}`, {
      digest: plan.bootId,
      hint: "this is a fault of composefs; please report it",
    });
  }
  throwIfAborted(signal);
  return makeSealedImage(base, entries, ids, stays, signal);
}

/** An entry as if it had been imported. */
function mergeEntry({ path, type, stat, content }: NewTarEntry, digest: ObjectId | undefined): LayerEntry {
  const size = content?.size ?? 0;
  const entry = { path, type, stat, size, link: "", rdev: 0, offset: 0 };
  if (type !== "file") return { ...entry, content: undefined };
  if (content === undefined) return { ...entry, content: { kind: "inline", bytes: new Uint8Array() } };
  return { ...entry, content: { kind: "external", size, digest } };
}
