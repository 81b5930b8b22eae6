// All that is decided before a UKI exists: the base image is opened, its parts are chosen, its digest is computed, and the UKI and its
// addons are planned (docs/spec/boot.md, sections 2, 5 and 14).

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { discoverBootResources } from "../boot/discover.ts";
import { readImageKargs } from "../boot/kargs/image-kargs.ts";
import type { PeSource } from "../boot/pe/read.ts";
import type { ReadFile } from "../boot/resource.ts";
import type { PePlan } from "../boot/uki/write.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { systemError } from "../error.ts";
import { buildTree } from "../oci/build-image.ts";
import type { LayerEntry } from "../oci/layer/read.ts";
import { requireContainer } from "../oci/stored-image.ts";
import type { NewTarEntry } from "../oci/tar-write.ts";
import type { Directory } from "../tree/node.ts";
import { type Base, openBase, type SealSource } from "./base.ts";
import { type TreeIds, treeIds } from "./boot-ids.ts";
import { checkArguments, sealedCommandLine } from "./command-line.ts";
import type { SealOptions, SealPlan } from "./options.ts";
import { planFiles, versionOfFile } from "./part-files.ts";
import { chooseParts } from "./parts.ts";
import { checkSigningCommand } from "./sign.ts";
import { addonPaths, checkPlace, ukiLayer } from "./uki-layer.ts";

/** All that is open during the work. */
export interface Work {
  /** For temporary files; removed at the end. */
  readonly directory: string;
  readonly base: Base;
  readonly readFile: ReadFile;
  readonly ids: TreeIds;
  readonly plan: SealPlan;
  /** The files to make, the UKI first, and their places in the image. */
  readonly files: readonly { readonly path: string; readonly pe: PePlan }[];
  /** Entries of the new layer, from the contents of these files. */
  readonly layer: (contents: readonly PeSource[]) => NewTarEntry[];
}

/**
 * Opens and plans all, hands it on, and closes and removes it when `use` has ended.
 *
 * @throws ComposefsError what keeps the image from being sealed
 */
export async function withWork<T>(
  source: SealSource,
  options: SealOptions,
  use: (work: Work) => Promise<T>,
): Promise<T> {
  const { signal, onProgress, sign, platform, addons = [], kernelArguments = [] } = options;
  // What is wrong with the words is said before anything is read.
  if (sign !== undefined) checkSigningCommand(sign);
  checkArguments({ image: "", extra: [...kernelArguments, ...addons.map(({ commandLine }) => commandLine)] });
  addonPaths("", addons);
  const directory = temporaryDirectory(options.temporaryDirectory ?? tmpdir());
  try {
    const algorithm = source.kind === "stored" ? source.repository.algorithm : (options.algorithm ?? "sha512");
    await using base = await openBase(source, { algorithm, workDirectory: directory, platform, signal, onProgress });
    return await withPlan(base, directory, options, use);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function temporaryDirectory(below: string): string {
  try {
    return mkdtempSync(join(below, "composefs-seal-"));
  } catch (error) {
    throw systemError(error, `making a temporary directory in ${below}`, below);
  }
}

async function withPlan<T>(
  base: Base,
  directory: string,
  options: SealOptions,
  use: (work: Work) => Promise<T>,
): Promise<T> {
  const { signal, onProgress, version = 2, addons = [], kernelArguments = [] } = options;
  const { repository, image } = base;
  const { algorithm } = repository;
  const { architecture } = requireContainer(image);
  const readFile = repositoryBodies(repository);
  const tree = await mergedTree(base, [], options);
  const resources = await discoverBootResources(tree, readFile);
  const given = { ...options, addons: addons.length > 0 };
  const parts = chooseParts(tree, resources, architecture, given, existsSync, versionOfFile);
  const ukiPath = options.ukiPath ?? `/boot/EFI/Linux/${parts.kernelVersion}.efi`;
  const removed = checkPlace(ukiPath, resources, options.replace ?? false);
  const imageArguments = await readImageKargs(tree, readFile, architecture);
  checkArguments({ image: imageArguments, extra: [] });
  const digest = { id: "digest", label: `digest of the boot image (${algorithm}, format V${version})` };
  onProgress?.({ type: "start", kind: "image", ...digest });
  const ids = await treeIds(tree, { algorithm, version, readFile, signal });
  onProgress?.({ type: "done", id: digest.id });
  // The other one is a boot image now.
  const whole = await mergedTree(base, [], options);
  const insecure = options.allowMissingVerity ?? false;
  const commandLine = sealedCommandLine(
    { image: imageArguments, extra: kernelArguments },
    { version, digest: ids.boot, insecure },
  );
  const lines = addons.map((addon) => addon.commandLine);
  return planFiles(repository, parts, commandLine, lines, signal, async (pes) => {
    const warnings = pes.flatMap((pe) => pe.warnings);
    if (resources.some(({ kind }) => kind === "type1"))
      warnings.push("the image has entries in /boot/loader/entries, which come before the UKI");
    for (const message of warnings) onProgress?.({ type: "warning", message });
    const paths = [ukiPath, ...addonPaths(ukiPath, addons)];
    const plan: SealPlan = {
      algorithm,
      version,
      bootId: ids.boot,
      kernelVersion: parts.kernelVersion,
      commandLine,
      parts,
      ukiPath,
      ukiSize: pes[0]?.size ?? 0,
      addonPaths: paths.slice(1),
      replaced: removed.map(displayBytes),
      warnings,
    };
    const files = pes.map((pe, index) => ({ path: paths[index] as string, pe }));
    const layer = (contents: readonly PeSource[]) => {
      const added = contents.map((content, index) => ({ path: paths[index] as string, content }));
      return ukiLayer(whole, added, removed);
    };
    return use({ directory, base, readFile, ids, plan, files, layer });
  });
}

/** The tree of the image with more entries on top. */
export function mergedTree(
  base: Base,
  more: readonly LayerEntry[],
  { xattrs, signal }: Pick<SealOptions, "xattrs" | "signal">,
): Promise<Directory> {
  const top = more.length === 0 ? [] : [{ digest: "the layer of the UKI", id: "", entries: more }];
  return buildTree(base.repository, [...base.image.layers, ...top], {
    signal,
    ...(xattrs === undefined ? {} : { xattrs }),
  });
}
