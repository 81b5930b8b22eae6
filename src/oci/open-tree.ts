// A tree by what people call it: a dump file, an image file, a directory, an image or a tag of a repository. What `diff` compares.

import { closeSync, readSync, statSync } from "node:fs";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { HEADER_BYTES, recognizeImage } from "../image/header.ts";
import { readTree } from "../image/read.ts";
import type { ProgressListener } from "../progress.ts";
import { withStoredImage } from "../repository/image-file.ts";
import type { Repository } from "../repository/repository.ts";
import { directoryTree } from "../tree/directory-tree.ts";
import { readDump } from "../tree/dump-read.ts";
import { Directory } from "../tree/node.ts";
import { imageTree } from "./image-tree.ts";
import { openForReading } from "../runtime/open-file.ts";

/** How to open trees. */
export interface OpenTreeOptions {
  /** Opens the repository for names that are no paths; asked for it at most once for each tree, which disposes it. */
  readonly openRepository: () => Promise<Repository>;
  /** Hash of the digests of files in directories, and in dumps without a digest that tells. */
  readonly algorithm?: Algorithm | undefined;
  /** Make directories container roots, as `compute-id` does; else they are as they are. */
  readonly containerRoot?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What a tree came from. */
export type TreeSource = "dump" | "image" | "directory" | "stored image" | "container image";

/** A tree that was opened. */
export interface OpenedTree {
  readonly root: Directory;
  readonly source: TreeSource;
}

/**
 * Opens two trees. Directories come last, so that their files get digests of the hash that the other tree has.
 *
 * @throws ComposefsError as {@link openTree}
 */
export async function openTrees(a: string, b: string, options: OpenTreeOptions): Promise<[OpenedTree, OpenedTree]> {
  if (!isDirectory(a)) {
    const first = await openTree(a, options);
    return [first, await openTree(b, { ...options, algorithm: options.algorithm ?? digestsOf(first.root) })];
  }
  const second = await openTree(b, options);
  return [await openTree(a, { ...options, algorithm: options.algorithm ?? digestsOf(second.root) }), second];
}

/**
 * Opens a tree. What exists as a path is one: a directory, an image file or a dump file. All else is looked up in the repository:
 * an image by its id or ref, or a container image by its tag or digest.
 *
 * @throws ComposefsError `not-found`, `invalid` for a file that is neither an image nor a dump, and what reading it causes
 * @example
 * ```ts
 * const { root } = await openTree("os.img", { openRepository: () => Repository.open("./images") });
 * ```
 */
export async function openTree(name: string, options: OpenTreeOptions): Promise<OpenedTree> {
  const stat = statSync(name, { throwIfNoEntry: false });
  if (stat === undefined) return openStored(name, options);
  if (!stat.isDirectory()) return openFile(name, options.algorithm);
  const { algorithm = "sha512", containerRoot = false, signal, onProgress } = options;
  const { root } = await directoryTree(name, { algorithms: [algorithm], containerRoot, signal, onProgress });
  return { root, source: "directory" };
}

function isDirectory(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The hash of the digests in a tree, if it has any. */
export function digestsOf(root: Directory): Algorithm | undefined {
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values()) {
      if (node instanceof Directory) pending.push(node);
      else if (node.content.kind === "external" && node.content.digest !== undefined)
        return node.content.digest.length === 64 ? "sha256" : "sha512";
    }
  }
  return undefined;
}

async function openStored(name: string, { openRepository, signal }: OpenTreeOptions): Promise<OpenedTree> {
  let repository: Repository;
  try {
    repository = await openRepository();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code !== "not-found" && code !== "not-a-repository") throw error;
    throw new ComposefsError(
      "not-found",
      `${name} does not exist, and there is no repository where it could be an image`,
      {
        path: name,
        cause: error,
        hint: "give the path of a directory, an image or a dump, or the repository of the image with --repo",
      },
    );
  }
  try {
    const root = await storedTree(repository, name);
    if (root !== undefined) return { root, source: "stored image" };
    return { root: await imageTree(repository, name, { signal }), source: "container image" };
  } catch (error) {
    if ((error as { code?: unknown }).code !== "not-found") throw error;
    throw nothingOfThatName(name, repository, error);
  } finally {
    await repository[Symbol.asyncDispose]();
  }
}

/** The error for a name that is neither a path nor anything in the repository. */
export function nothingOfThatName(name: string, repository: Repository, cause: unknown): ComposefsError {
  return new ComposefsError("not-found", `${name} is neither a path nor an image or tag of ${repository.path}`, {
    path: name,
    cause,
    hint: "`composefs images` and `composefs oci images` list what is there",
  });
}

/** Whether a file begins as dumps do: with the line of the root directory. */
export function looksLikeDump(start: Uint8Array): boolean {
  return /^\/ [0-9]+ [0-7]+ /.test(Buffer.from(start).toString("latin1"));
}

/** The tree of an image in the repository, by its id or ref; undefined if there is none of that name. */
export async function storedTree(repository: Repository, name: string): Promise<Directory | undefined> {
  try {
    const { id } = repository.resolveImage(name);
    return withStoredImage(repository.store, id, (fd, options) => readTree(fd, options));
  } catch (error) {
    // Names of tags need not be ones that images can have.
    const { code } = error as { code?: unknown };
    if (code === "not-found" || code === "usage") return undefined;
    throw error;
  }
}

function openFile(path: string, algorithm: Algorithm | undefined): OpenedTree {
  const fd = openForReading(path);
  try {
    const start = readAt(fd, path, 0, HEADER_BYTES);
    if (recognizeImage(start).kind !== "other") return { root: readTree(fd), source: "image" };
    if (looksLikeDump(start)) {
      const dumped = digestsInDump(fd, path) ?? algorithm ?? "sha256";
      return { root: readDump(chunks(fd, path), { algorithm: dumped }), source: "dump" };
    }
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    const { code, message, line, hint } = error;
    throw new ComposefsError(code, `${path}: ${message}`, {
      path,
      cause: error,
      ...(line === undefined ? {} : { line }),
      ...(hint === undefined ? {} : { hint }),
    });
  } finally {
    closeSync(fd);
  }
  throw new ComposefsError("invalid", `${path} is neither a composefs image nor a dump`, {
    path,
    hint: "a dump begins with the line of the root directory, `/ 0 40755 ...`",
  });
}

const CHUNK = 1 << 20;

function* chunks(fd: number, path: string): Generator<Uint8Array, void, undefined> {
  for (let at = 0; ; ) {
    const chunk = readAt(fd, path, at, CHUNK);
    if (chunk.length === 0) return;
    yield chunk;
    at += chunk.length;
  }
}

function readAt(fd: number, path: string, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
  } catch (error) {
    throw systemError(error, `reading ${path}`, path);
  }
}

/** The hash of the first digest in a dump. */
function digestsInDump(fd: number, path: string): Algorithm | undefined {
  let rest = "";
  for (const chunk of chunks(fd, path)) {
    const text = rest + Buffer.from(chunk).toString("latin1");
    const end = text.lastIndexOf("\n") + 1;
    const digest = /^(?:[^ \n]* ){10}([0-9a-fA-F]+)(?: |$)/m.exec(text.slice(0, end))?.[1];
    if (digest !== undefined) return digest.length === 128 ? "sha512" : "sha256";
    rest = text.slice(end);
  }
  return undefined;
}
