// A tree to explain, before any transform, with digests of either hash where its files can be read.

import { statSync } from "node:fs";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { directoryBodies } from "../boot/directory-bodies.ts";
import type { ReadFile } from "../boot/resource.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { fsverityFile } from "../core/fsverity.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { mergeLayers } from "../oci/build-image.ts";
import {
  digestsOf,
  nothingOfThatName,
  openTree,
  type OpenTreeOptions,
  storedTree,
  type TreeSource,
} from "../oci/open-tree.ts";
import { openImage, requireContainer } from "../oci/stored-image.ts";
import type { Repository } from "../repository/repository.ts";
import { type Content, type Directory, Leaf } from "../tree/node.ts";
import { withDigests } from "../tree/other-digests.ts";

/** A tree in its first state. */
export interface ExplainSource extends AsyncDisposable {
  /** What the caller called it. */
  readonly name: string;
  readonly kind: TreeSource;
  /** How many layers it has; 0 if it is not made of layers. */
  readonly layers: number;
  /** Reads its files; those of dumps and image files are only there when they are inline. */
  readonly readFile: ReadFile;
  /**
   * The tree; the caller does not change it.
   *
   * @param layers the lowest ones only; all when left out
   * @throws ComposefsError `unsupported` where its digests are of the other hash and its files are not there
   */
  tree(algorithm: Algorithm, layers?: number): Promise<Directory>;
}

/**
 * Opens a source. Paths come first: a directory, an image file, a dump. Other names are looked up in the repository.
 *
 * @throws ComposefsError as `openTree`
 */
export async function openExplainSource(name: string, options: OpenTreeOptions): Promise<ExplainSource> {
  const stat = statSync(name, { throwIfNoEntry: false });
  if (stat === undefined) return openStored(name, options);
  if (!stat.isDirectory()) {
    const { root, source } = await openTree(name, options);
    return { ...unmoved(name, source), tree: async (algorithm) => ofHash(name, root, algorithm) };
  }
  const scanned = new Map<Algorithm, Directory>();
  const tree = async (algorithm: Algorithm): Promise<Directory> => {
    const known = scanned.get(algorithm);
    if (known !== undefined) return known;
    const { root } = await openTree(name, { ...options, algorithm, containerRoot: false });
    scanned.set(algorithm, root);
    return root;
  };
  return { ...unmoved(name, "directory", directoryBodies(name)), tree };
}

function unmoved(name: string, kind: TreeSource, readFile = inlineOnly(name)): Omit<ExplainSource, "tree"> {
  return { name, kind, layers: 0, readFile, [Symbol.asyncDispose]: async () => {} };
}

function inlineOnly(name: string): ReadFile {
  return ({ path, leaf: { content } }) => {
    if (content.kind === "inline") return content.bytes;
    throw new ComposefsError("unsupported", `the content of ${displayBytes(path)} is not in ${name}`, {
      path: displayBytes(path),
      hint: "give the directory or the container image that it was made of",
    });
  };
}

function ofHash(name: string, root: Directory, algorithm: Algorithm): Directory {
  const has = digestsOf(root) ?? algorithm;
  if (has === algorithm) return root;
  throw new ComposefsError(
    "unsupported",
    `the files of ${name} have ${has} digests, and the expected one is ${algorithm}`,
    {
      path: name,
      hint: "give the directory or the container image that it was made of",
    },
  );
}

async function openStored(name: string, options: OpenTreeOptions): Promise<ExplainSource> {
  let repository: Repository;
  try {
    repository = await options.openRepository();
  } catch (error) {
    // It has the words for a name that is nothing at all.
    await openTree(name, { ...options, openRepository: () => Promise.reject(error) });
    throw error;
  }
  try {
    const stored = await storedTree(repository, name);
    const { signal } = options;
    if (stored !== undefined) {
      const hashes = new OtherHash(repository, signal);
      return {
        ...unmoved(name, "stored image", hashes.readFile),
        tree: async (algorithm) => hashes.of(stored, algorithm),
        [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
      };
    }
    return await openContainer(repository, name, signal);
  } catch (error) {
    await repository[Symbol.asyncDispose]();
    if ((error as { code?: unknown }).code !== "not-found") throw error;
    throw nothingOfThatName(name, repository, error);
  }
}

async function openContainer(repository: Repository, name: string, signal?: AbortSignal): Promise<ExplainSource> {
  const image = await openImage(repository, name);
  requireContainer(image);
  const merged = new Map<number, Directory>();
  const hashes = new OtherHash(repository, signal);
  return {
    name,
    kind: "container image",
    layers: image.layers.length,
    readFile: hashes.readFile,
    tree: async (algorithm, layers = image.layers.length) => {
      let root = merged.get(layers);
      if (root === undefined) {
        root = await mergeLayers(repository, image.layers.slice(0, layers), signal);
        // One at a time besides the whole: images have dozens of layers.
        if (layers === image.layers.length) merged.set(layers, root);
      }
      return hashes.of(root, algorithm);
    },
    [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
  };
}

/** The trees of a repository with digests of the hash that it does not have: every object is read once. */
class OtherHash {
  readonly #repository: Repository;
  readonly #signal: AbortSignal | undefined;
  readonly #known = new Map<ObjectId, ObjectId>();
  readonly #originals = new Map<ObjectId, ObjectId>();

  constructor(repository: Repository, signal: AbortSignal | undefined) {
    this.#repository = repository;
    this.#signal = signal;
  }

  of(root: Directory, algorithm: Algorithm): Directory {
    if (algorithm === this.#repository.algorithm) return root;
    return withDigests(root, (content) => this.#digest(content, algorithm));
  }

  /** Reads objects by the digests of either hash. */
  readonly readFile: ReadFile = ({ path, leaf }) => {
    const { content } = leaf;
    const original = content.kind === "external" && content.digest !== undefined && this.#originals.get(content.digest);
    const read = repositoryBodies(this.#repository);
    if (content.kind !== "external" || !original) return read({ path, leaf });
    return read({ path, leaf: new Leaf(leaf.stat, { ...content, digest: original }) });
  };

  #digest(content: Content, algorithm: Algorithm): ObjectId | undefined {
    if (content.kind !== "external" || content.digest === undefined) return undefined;
    let digest = this.#known.get(content.digest);
    if (digest !== undefined) return digest;
    throwIfAborted(this.#signal);
    const object = this.#repository.store.openSync(content.digest);
    try {
      digest = fsverityFile(algorithm, object.fd, content.size);
    } finally {
      object.close();
    }
    this.#known.set(content.digest, digest);
    this.#originals.set(digest, content.digest);
    return digest;
  }
}
