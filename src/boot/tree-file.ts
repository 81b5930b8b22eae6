// Files and directories of an image by path, and their contents as text (docs/spec/boot.md, sections 6 and 15). Symbolic links are
// never followed; every error names the path and has the class of the section.

import { type ByteString, displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails } from "../error.ts";
import { isLookupFailure, pathComponents, walk } from "../tree/lookup.ts";
import { Directory, type Leaf, type Node } from "../tree/node.ts";
import type { BootFile, ReadFile } from "./resource.ts";

/** Why something is not there as wanted: the classes of section 15. */
export type LookupReason = "not-found" | "not-a-directory" | "is-a-directory" | "not-regular" | "invalid-name";

const PROBLEMS: Record<LookupReason, string> = {
  "not-found": "does not exist in the image",
  "not-a-directory": "is not a directory",
  "is-a-directory": "is a directory, not a file",
  "not-regular": "is not a regular file (symbolic links are not followed)",
  "invalid-name": "is not a path inside the image",
};

/** The error of a path that does not lead to what is wanted. */
export function lookupError(reason: LookupReason, path: ByteString, details: ErrorDetails = {}): ComposefsError {
  const shown = displayBytes(path);
  return new ComposefsError("invalid", `${shown} ${PROBLEMS[reason]}`, { path: shown, reason, ...details });
}

/**
 * The node at a path; undefined when the last or any other component is missing.
 *
 * @throws ComposefsError `invalid` with the reason `not-a-directory` or `invalid-name`
 */
export function findNode(root: Directory, path: ByteString): Node | undefined {
  const node = walk(root, pathComponents(path));
  if (!isLookupFailure(node)) return node;
  if (node.reason === "missing") return undefined;
  const reason = node.reason === "parent-reference" ? "invalid-name" : node.reason;
  throw lookupError(reason, `/${node.path}`);
}

/**
 * The directory at a path; undefined when there is none.
 *
 * @throws ComposefsError `invalid` with the reason `not-a-directory` or `invalid-name`
 */
export function findDirectory(root: Directory, path: ByteString): Directory | undefined {
  const node = findNode(root, path);
  if (node === undefined || node instanceof Directory) return node;
  throw lookupError("not-a-directory", path);
}

/** Whether a node is a regular file. */
export function isRegularFile(node: Node | undefined): node is Leaf {
  return (
    node !== undefined &&
    !(node instanceof Directory) &&
    (node.content.kind === "inline" || node.content.kind === "external")
  );
}

/**
 * A node as a regular file.
 *
 * @param path where it is, for messages
 * @throws ComposefsError `invalid` with the reason `not-found`, `is-a-directory` or `not-regular`
 */
export function regularFile(node: Node | undefined, path: ByteString): BootFile {
  if (node === undefined) throw lookupError("not-found", path);
  if (node instanceof Directory) throw lookupError("is-a-directory", path);
  if (!isRegularFile(node)) throw lookupError("not-regular", path);
  return { path, leaf: node };
}

/** Size in bytes of a regular file. */
export function fileSize({ leaf: { content } }: BootFile): number {
  return content.kind === "inline" ? content.bytes.length : content.kind === "external" ? content.size : 0;
}

// A byte order mark is a character like any other here.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads a small text file.
 *
 * @param limit its largest size in bytes
 * @throws ComposefsError `limit` for a larger one, `invalid` with the reason `not-utf8`, and what `readFile` throws
 */
export async function readText(file: BootFile, readFile: ReadFile, limit: number): Promise<string> {
  const path = displayBytes(file.path);
  const size = fileSize(file);
  if (size > limit) {
    throw new ComposefsError("limit", `${path} has ${size} bytes; files of its kind may have ${limit}`, { path });
  }
  const bytes = file.leaf.content.kind === "inline" ? file.leaf.content.bytes : await readFile(file);
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new ComposefsError("invalid", `${path} is not valid UTF-8`, { path, reason: "not-utf8", cause: error });
  }
}
