// `dump-files`: single files and directories of a stored image (docs/spec/tree.md, section 6).

import type { ByteString } from "../bytes/byte-string.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { dumpEntries } from "../tree/dump.ts";
import { describeFailure, isLookupFailure, pathComponents, walk } from "../tree/lookup.ts";
import { Directory, type Node } from "../tree/node.ts";
import { storedTree } from "./stored-tree.ts";
import { objectPath } from "../bytes/algorithm.ts";
import type { Repository } from "./repository.ts";

/**
 * The dump lines of entries of an image: a directory is followed by all that is below it. Paths are printed as given.
 *
 * @param image an image id (also with its prefix, or shortened), or the name of a ref
 * @returns lines with their ends, pure ASCII, exactly those of `cfsctl dump-files`
 * @throws ComposefsError `not-found` for an unknown image or path, `usage` for a path with `..`
 */
export function dumpFiles(repository: Repository, image: string, paths: readonly ByteString[]): string[] {
  const root = storedTree(repository, image);
  const found = paths.map((path) => ({ path, node: findNode(root, path) }));
  return [...dumpEntries(root, found)];
}

/** Where the content of a file is: in the image, or in the object store as `xx/rest`. */
export interface BackingPath {
  readonly path: ByteString;
  /** Undefined when the content is in the image, or there is none. */
  readonly object: string | undefined;
}

/**
 * Where the contents of files of an image are.
 *
 * @throws ComposefsError `usage` for a directory, and as {@link dumpFiles}
 */
export function backingPaths(repository: Repository, image: string, paths: readonly ByteString[]): BackingPath[] {
  const root = storedTree(repository, image);
  return paths.map((path) => {
    const node = findNode(root, path);
    if (node instanceof Directory)
      throw new ComposefsError("usage", `${displayBytes(path)} is a directory`, {
        path: displayBytes(path),
        hint: "only files have a backing path",
      });
    const { content } = node;
    if (content.kind !== "external") return { path, object: undefined };
    return { path, object: content.digest === undefined ? content.path : objectPath(content.digest) };
  });
}

function findNode(root: Directory, path: ByteString): Node {
  if (path === "") throw new ComposefsError("usage", "an empty path names nothing", { hint: "the root is /" });
  const node = walk(root, pathComponents(path));
  if (!isLookupFailure(node)) return node;
  const code = node.reason === "parent-reference" ? "usage" : "not-found";
  throw new ComposefsError(code, `${displayBytes(path)}: ${describeFailure(node, displayBytes)}`, {
    path: displayBytes(path),
  });
}
