// The boot images of a container image (docs/spec/boot.md, section 2): which ones are wanted, which are there already, and the search
// for the one that has a known digest.

import type { ObjectId } from "../bytes/algorithm.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { bootableTransform } from "../boot/bootable-transform.ts";
import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import { imageId } from "../image/write.ts";
import type { ProgressListener } from "../progress.ts";
import type { Repository } from "../repository/repository.ts";
import { storeImage } from "../repository/store-image.ts";
import type { Directory } from "../tree/node.ts";
import { XATTR_MODES, type XattrMode } from "../tree/xattr-filter.ts";
import { buildTree, type StoredLayer } from "./build-image.ts";
import { imageRefKey } from "./image-refs.ts";
import { isStoredImage } from "./image-version.ts";

/** A boot image. */
export interface BootImage {
  readonly version: FormatVersion;
  readonly xattrs: XattrMode;
  readonly id: ObjectId;
}

/** Which boot images are wanted: the usual ones, or the one that has a digest. */
export interface BootRequest {
  /** Lower-case hex; the image is searched for among all modes of xattrs and the formats 1 and 2. */
  readonly expectedDigest?: ObjectId | undefined;
}

/** What is known and wanted. */
export interface BootBuild {
  /** Formats to build; the repository's when left out. */
  readonly formats?: readonly FormatVersion[] | undefined;
  /** Images that the config names, by their keys. */
  readonly known: ReadonlyMap<string, ObjectId>;
  /** The tree of the image, not transformed yet; it is used up. Built from the layers when left out. */
  readonly tree?: Directory | undefined;
  /** The tree after the transform, in the first mode of xattrs; made when left out. */
  readonly transformed?: Directory | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** The image: its layers, and whether it is one that has a file system. */
export interface BootSource {
  readonly isContainer: boolean;
  readonly layers: readonly StoredLayer[];
}

/** Formats that an expected digest is compared with, in this order. */
const SEARCHED: readonly FormatVersion[] = [1, 2];

/**
 * Builds the boot images that are missing, and stores them. Links nothing.
 *
 * @throws ComposefsError as `bootableTransform`; `digest-mismatch` when none has the expected digest, `invalid` for an artifact
 */
export async function buildBootImages(
  repository: Repository,
  source: BootSource,
  build: BootBuild,
  request: BootRequest = {},
): Promise<BootImage[]> {
  if (!source.isContainer)
    throw new ComposefsError("invalid", "an artifact has no file system that could be booted", {
      hint: "pull it without --bootable",
    });
  const trees = new BootTrees(repository, source, build);
  if (request.expectedDigest !== undefined)
    return [await findExpected(repository, trees, build, request.expectedDigest)];
  const images: BootImage[] = [];
  const [xattrs] = XATTR_MODES as [XattrMode];
  const keys = new Set<string>();
  for (const version of build.formats ?? repository.formats) {
    const key = imageRefKey({ version, boot: true, xattrs });
    if (keys.has(key)) continue;
    keys.add(key);
    const known = build.known.get(key);
    if (isStoredImage(repository, known, version)) images.push({ version, xattrs, id: known });
    else images.push({ version, xattrs, id: await store(repository, await trees.get(xattrs), version, build) });
  }
  return images;
}

async function store(
  repository: Repository,
  tree: Directory,
  version: FormatVersion,
  { onProgress }: BootBuild,
): Promise<ObjectId> {
  const progress = { id: `boot-v${version}`, kind: "image", label: `boot image (format V${version})` } as const;
  onProgress?.({ type: "start", ...progress });
  const id = await storeImage(repository, tree, version);
  onProgress?.({ type: "done", id: progress.id });
  return id;
}

async function findExpected(
  repository: Repository,
  trees: BootTrees,
  build: BootBuild,
  expected: ObjectId,
): Promise<BootImage> {
  const variants = XATTR_MODES.flatMap((xattrs) => SEARCHED.map((version) => ({ xattrs, version })));
  const known = variants.map(({ xattrs, version }) => {
    const id = build.known.get(imageRefKey({ version, boot: true, xattrs }));
    return isStoredImage(repository, id, version) ? id : undefined;
  });
  const cached = variants[known.indexOf(expected)];
  if (cached !== undefined) return { ...cached, id: expected };
  for (const [i, { xattrs, version }] of variants.entries()) {
    if (known[i] !== undefined) continue;
    const tree = await trees.get(xattrs);
    if (imageId(tree, { version, algorithm: repository.algorithm, dialect: "rs" }).id !== expected) continue;
    return { xattrs, version, id: await store(repository, tree, version, build) };
  }
  throw new ComposefsError(
    "digest-mismatch",
    `no boot image configuration matched expected digest ${expected} (tried ${variants.length} mode/version combinations)`,
    {
      digest: expected,
      hint: "the digest is that of another image, of another hash, or of a tree that was changed since; `composefs diff` compares trees",
    },
  );
}

/** Transformed trees, each made when it is first wanted. */
class BootTrees {
  readonly #repository: Repository;
  readonly #source: BootSource;
  readonly #build: BootBuild;
  readonly #trees = new Map<XattrMode, Directory>();

  constructor(repository: Repository, source: BootSource, build: BootBuild) {
    this.#repository = repository;
    this.#source = source;
    this.#build = build;
    if (build.transformed !== undefined) this.#trees.set(XATTR_MODES[0] as XattrMode, build.transformed);
  }

  async get(xattrs: XattrMode): Promise<Directory> {
    let tree = this.#trees.get(xattrs);
    if (tree === undefined) {
      const { signal, tree: given } = this.#build;
      const isGiven = given !== undefined && xattrs === XATTR_MODES[0];
      tree = isGiven ? given : await buildTree(this.#repository, this.#source.layers, { xattrs, signal });
      await bootableTransform(tree, { readFile: repositoryBodies(this.#repository), signal });
      this.#trees.set(xattrs, tree);
    }
    return tree;
  }
}

/** Whether an error is about what the image holds: it can be stored, only not booted. */
export function isBootFailure(error: unknown): error is ComposefsError {
  return error instanceof ComposefsError && ["invalid", "limit", "digest-mismatch", "unsupported"].includes(error.code);
}
