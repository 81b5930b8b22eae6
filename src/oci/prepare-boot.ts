// `oci prepare-boot`: makes a stored image bootable from a boot directory (docs/spec/boot.md, section 9): its boot images, the kernel or
// UKI with its entry, and the directories for the state of the deployment.

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { ObjectId } from "../bytes/algorithm.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { bootableTransform } from "../boot/bootable-transform.ts";
import { carryOut, type StepResult } from "../boot/change/carry-out.ts";
import { checkUkiDigest, findComposefsArgument, renderComposefsArgument } from "../boot/kargs/composefs-argument.ts";
import { discoverBootResources } from "../boot/discover.ts";
import { makeDirectories } from "../boot/change/durable.ts";
import { OsRelease } from "../boot/os-release.ts";
import { PeFile } from "../boot/pe/read.ts";
import { chooseBootResource, planPrepareBoot } from "../boot/install/prepare.ts";
import { openImageFile } from "../boot/repository-files.ts";
import type { BootResource } from "../boot/resource.ts";
import type { BootStep } from "../boot/change/steps.ts";
import { readText } from "../boot/tree-file.ts";
import { ukiCommandLine, untilNul } from "../boot/uki/uki.ts";
import { DirectoryVolume } from "../boot/change/volume.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { imageId } from "../image/write.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import type { Directory } from "../tree/node.ts";
import { type BootImage, buildBootImages } from "./boot-images.ts";
import { commitImage } from "./commit.ts";
import { imageRefKey } from "./image-refs.ts";
import { imageTree } from "./image-tree.ts";
import { isStoredImage } from "./image-version.ts";
import { publish } from "./publish.ts";
import { openImage, requireContainer, type StoredImage } from "./stored-image.ts";

/** Options of {@link prepareBoot}. */
export interface PrepareBootOptions {
  /** The boot directory or ESP; made if it does not exist. */
  readonly bootDirectory: string;
  /** Names the entry and the directory of its files; otherwise the kernel version or the names in the image do. */
  readonly entryId?: string | undefined;
  /** Kernel arguments, one each, after the one of the image. Of several with one name the last stays. A UKI takes none. */
  readonly kernelArguments?: readonly string[] | undefined;
  /** A directory below the boot directory that everything goes into, for one that is mounted elsewhere when it boots. */
  readonly subdirectory?: string | undefined;
  /** Title and version of the entry of a plain kernel from the image's os-release, instead of placeholders. */
  readonly titleFromOsRelease?: boolean | undefined;
  /** Where `state/deploy` lies; beside the repository when left out. */
  readonly stateRoot?: string | undefined;
  /** The object id that the config's stream must have. */
  readonly verity?: ObjectId | undefined;
  /** Find out what would be written, and write nothing, the boot images neither. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What {@link prepareBoot} did or would do. */
export interface PreparedBoot {
  /** `bls`: an entry of the Boot Loader Specification; `uki`: a unified kernel image, which boot loaders find themselves. */
  readonly boots: "bls" | "uki";
  /** The id of the boot image, which names the deployment. */
  readonly digest: ObjectId;
  /** Its format. */
  readonly version: FormatVersion;
  /** The kernel argument that names it. */
  readonly argument: string;
  /** Path of the entry or UKI, relative to the boot directory. */
  readonly entry: string;
  /** The directory for the state of the deployment. */
  readonly stateDirectory: string;
  /** The steps in their order. */
  readonly steps: readonly BootStep[];
  /** What became of them; empty for a dry run. */
  readonly results: readonly StepResult[];
}

/** os-release files are some hundred bytes. */
const OS_RELEASE_LIMIT = 1 << 16;

/**
 * Prepares a boot directory.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`; of a manifest or a config
 * @throws ComposefsError as `imageTree`, `bootableTransform` and `planPrepareBoot`; of the boot directory's file system
 * @example
 * ```ts
 * const { entry } = await prepareBoot(repository, "os:v1", { bootDirectory: "/boot", kernelArguments: ["rw"] });
 * ```
 */
export async function prepareBoot(
  repository: Repository,
  name: string,
  options: PrepareBootOptions,
): Promise<PreparedBoot> {
  const { signal, onProgress, verity, dryRun = false } = options;
  const image = await openImage(repository, name);
  requireContainer(image);
  const tree = await imageTree(repository, name, { verity, signal });
  const resource = chooseBootResource(await discoverBootResources(tree, repositoryBodies(repository)));
  const titles = await titlesOf(repository, resource, options);
  const plan = (chosen: BootImage) => {
    const argument = renderComposefsArgument({
      version: chosen.version,
      digest: chosen.id,
      insecure: !repository.secure,
    });
    const { kernelArguments, entryId, subdirectory } = options;
    return {
      argument,
      steps: planPrepareBoot(resource, { argument, extra: kernelArguments ?? [], entryId, subdirectory, ...titles }),
    };
  };
  // What is wrong with the words or the image is said before anything is built.
  plan({ id: "0".repeat(repository.algorithm === "sha256" ? 64 : 128), version: 2, xattrs: "allowlist-only" });
  const commandLine = resource.kind === "type2" ? commandLineOf(repository, resource) : undefined;
  if (commandLine !== undefined) findComposefsArgument(untilNul(commandLine), repository.algorithm, sourceOf(resource));
  const images = dryRun
    ? await computeImages(repository, image, tree, signal)
    : await commitImages(repository, image, options);
  const chosen = chooseImage(repository, images, resource, commandLine);
  const { argument, steps } = plan(chosen);
  const stateRoot = options.stateRoot ?? dirname(repository.path);
  const state = `state/deploy/${chosen.id}`;
  const prepared = {
    boots: resource.kind === "type2" ? ("uki" as const) : ("bls" as const),
    digest: chosen.id,
    version: chosen.version,
    argument,
    entry: entryPath(steps),
    stateDirectory: `${stateRoot === "/" ? "" : stateRoot}/${state}`,
    steps,
  };
  if (dryRun) return { ...prepared, results: [] };
  // Before the entry: what can be chosen in the menu must boot.
  const stateVolume = new DirectoryVolume(stateRoot);
  for (const directory of ["var", "etc/upper", "etc/work"]) makeDirectories(stateVolume, `${state}/${directory}`);
  mkdirSync(options.bootDirectory, { recursive: true });
  const volume = new DirectoryVolume(options.bootDirectory);
  const open = (file: Parameters<typeof openImageFile>[1]) => openImageFile(repository, file);
  const results = await carryOut({ boot: volume }, steps, { open, signal, onProgress });
  for (const { step, result } of results)
    if (step.do === "copy" && result === "replaced")
      onProgress?.({
        type: "warning",
        message: `${step.path} was another file before, and what booted it boots this one now; --entry-id keeps deployments apart`,
      });
  return { ...prepared, results };
}

function entryPath(steps: readonly BootStep[]): string {
  const last = steps.at(-1);
  return last?.do === "copy" || last?.do === "write" ? last.path : "";
}

function sourceOf(resource: BootResource): string {
  return resource.kind === "type2" ? displayBytes(resource.file.path) : "the image";
}

function commandLineOf(repository: Repository, resource: BootResource & { kind: "type2" }): string {
  using file = openImageFile(repository, resource.file);
  return ukiCommandLine(PeFile.read(file, sourceOf(resource)));
}

async function titlesOf(
  repository: Repository,
  resource: BootResource,
  { titleFromOsRelease = false, onProgress }: PrepareBootOptions,
): Promise<{ title?: string; version?: string }> {
  if (!titleFromOsRelease) return {};
  const warn = (message: string) => onProgress?.({ type: "warning", message });
  if (resource.kind !== "vmlinuz") {
    warn("the title and version are those of the entry or UKI in the image");
    return {};
  }
  if (resource.osRelease === undefined) {
    warn("the image has no os-release file: the entry has placeholders for title and version");
    return {};
  }
  const release = OsRelease.parse(await readText(resource.osRelease, repositoryBodies(repository), OS_RELEASE_LIMIT));
  const { name: title = "", version = "" } = release;
  return { ...(title.trim() === "" ? {} : { title }), ...(version.trim() === "" ? {} : { version }) };
}

/** The image that is booted: the one that the UKI names, or that of the repository's default format. */
function chooseImage(
  repository: Repository,
  images: readonly BootImage[],
  resource: BootResource,
  commandLine: string | undefined,
): BootImage {
  const wanted =
    commandLine === undefined
      ? undefined
      : checkUkiDigest(
          commandLine,
          repository.algorithm,
          images.map(({ id }) => id),
          sourceOf(resource),
        );
  const chosen = images.find(({ id }) => wanted === undefined || id === wanted);
  if (chosen === undefined) throw new TypeError("a repository has at least one format");
  return chosen;
}

async function commitImages(
  repository: Repository,
  image: StoredImage,
  { signal, onProgress }: PrepareBootOptions,
): Promise<readonly BootImage[]> {
  const { manifest, config, layers } = image;
  if (manifest === undefined) {
    // Only a manifest can be committed with what it keeps alive.
    const source = { isContainer: true, layers };
    const images = await buildBootImages(repository, source, { known: image.imageRefs, signal, onProgress });
    await publish(repository, { images: images.map(({ id }) => id), streams: new Map(), refs: new Map() });
    onProgress?.({
      type: "warning",
      message:
        "the image was named by its config: garbage collection removes its boot images, unless it is pulled with --bootable",
    });
    return images;
  }
  const { bootImages, bootFailure } = await commitImage(
    repository,
    {
      manifestDigest: manifest.digest,
      manifestBytes: manifest.bytes,
      manifest: manifest.value,
      configDigest: config.digest,
      configBytes: config.bytes,
      isContainer: true,
      layers,
    },
    { boot: {}, signal, onProgress },
  );
  if (bootFailure !== undefined) throw bootFailure;
  return bootImages;
}

/** The ids that the boot images have or would have; the tree is used up. */
async function computeImages(
  repository: Repository,
  image: StoredImage,
  tree: Directory,
  signal: AbortSignal | undefined,
): Promise<BootImage[]> {
  await bootableTransform(tree, { readFile: repositoryBodies(repository), signal });
  const xattrs = "allowlist-only";
  const images = new Map<string, BootImage>();
  for (const version of repository.formats) {
    const key = imageRefKey({ version, boot: true, xattrs });
    if (images.has(key)) continue;
    const known = image.imageRefs.get(key);
    const id = isStoredImage(repository, known, version)
      ? known
      : imageId(tree, { version, algorithm: repository.algorithm, dialect: "rs" }).id;
    images.set(key, { version, xattrs, id });
  }
  return [...images.values()];
}
