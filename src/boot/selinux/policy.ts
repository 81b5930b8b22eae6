// The SELinux policy of an image (docs/spec/boot.md, section 3.1): which one it is, and its files, out of the tree.

import { type ByteString, displayBytes, utf8ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { isLookupFailure, walk } from "../../tree/lookup.ts";
import { Directory, type Node } from "../../tree/node.ts";
import type { BootFile, ReadFile } from "../resource.ts";
import { lookupError, readText, regularFile } from "../tree-file.ts";
import { followPath } from "./follow.ts";
import type { Rule } from "./matcher.ts";
import { parseAliases, parseFileContexts, policyName } from "./policy-text.ts";

const SELINUX = "etc/selinux";
/** Largest size of a policy's file in bytes; those of distributions have half a megabyte. */
const FILE_LIMIT = 32 << 20;
const CONFIG_LIMIT = 1 << 20;

/** The files of rules, in the order in which they are read. The first one must be there. */
export const RULE_FILES = ["file_contexts", "file_contexts.local", "file_contexts.homedirs"] as const;
/** The files of aliases, in the order in which they are read. */
export const ALIAS_FILES = ["file_contexts.subs", "file_contexts.subs_dist"] as const;

/** What labels an image. */
export interface Policy {
  /** The value of SELINUXTYPE. */
  readonly name: string;
  /** In reading order: the last one that matches wins. */
  readonly rules: readonly Rule[];
  /** Path to the path that it is labelled as. */
  readonly aliases: ReadonlyMap<ByteString, ByteString>;
  /** The aliases of `.subs` and those of `.subs_dist`. */
  readonly aliasFiles: readonly ReadonlyMap<ByteString, ByteString>[];
}

/** How the files of a policy are found. */
export interface PolicyOptions {
  /**
   * Follow symbolic links, inside the tree: for directories on disk. Otherwise whatever is no regular file is refused.
   * A policy whose directory is missing is then one without file_contexts.
   */
  readonly followLinks?: boolean | undefined;
}

/**
 * Reads the policy of a tree.
 *
 * @returns undefined when the image is not to be labelled: no `/etc/selinux`, no `config` in it, or no SELINUXTYPE in that
 * @throws ComposefsError `invalid`; `reason` is a class of section 15, `path` and `line` say where
 */
export async function loadPolicy(
  root: Directory,
  readFile: ReadFile,
  { followLinks = false }: PolicyOptions = {},
): Promise<Policy | undefined> {
  const find: Find = followLinks ? (path) => followPath(root, path) : (path) => findStrictly(root, path);
  const selinux = find(SELINUX);
  if (selinux === undefined) return undefined;
  if (!(selinux.node instanceof Directory)) throw lookupError("not-a-directory", selinux.path);
  const config = find(`${SELINUX}/config`);
  if (config === undefined) return undefined;
  const name = policyName(await readText(regularFile(config.node, config.path), readFile, CONFIG_LIMIT));
  if (name === undefined) return undefined;
  const directory = [SELINUX, ...nameComponents(name), "contexts/files"].join("/");
  if (!followLinks) requireDirectories(root, directory);

  const read = async (file: string): Promise<{ path: string; text: string } | undefined> => {
    const path = `/${directory}/${file}`;
    const found = find(path);
    if (found === undefined) return undefined;
    const regular: BootFile = regularFile(found.node, found.path);
    return { path: displayBytes(path), text: await readText(regular, readFile, FILE_LIMIT) };
  };
  const rules: Rule[] = [];
  for (const file of RULE_FILES) {
    const text = await read(file);
    if (text !== undefined) for (const rule of parseFileContexts(text)) rules.push(rule);
    else if (file === RULE_FILES[0]) throw noFileContexts(directory, name);
  }
  const aliasFiles: Map<ByteString, ByteString>[] = [];
  for (const file of ALIAS_FILES) {
    const text = await read(file);
    const parsed = text === undefined ? [] : parseAliases(text);
    aliasFiles.push(new Map(parsed.map(({ alias, target }) => [alias, target])));
  }
  return { name, rules, aliasFiles, aliases: new Map(aliasFiles.flatMap((aliases) => [...aliases])) };
}

/** A node, and its path after links. */
type Find = (path: ByteString) => { readonly node: Node; readonly path: ByteString } | undefined;

function findStrictly(root: Directory, path: ByteString): { node: Node; path: ByteString } | undefined {
  const absolute = path.startsWith("/") ? path : `/${path}`;
  const node = walk(root, absolute.slice(1).split("/"));
  if (!isLookupFailure(node)) return { node, path: absolute };
  if (node.reason === "missing") return undefined;
  throw lookupError(node.reason === "not-a-directory" ? node.reason : "invalid-name", `/${node.path}`);
}

/** The name is a path below `/etc/selinux`; none leads out of it. */
function nameComponents(name: string): ByteString[] {
  const components = utf8ByteString(name)
    .split("/")
    .filter((part) => part !== "");
  if (components.some((part) => part === "." || part === "..")) {
    throw lookupError("invalid-name", utf8ByteString(name), {
      path: `/${SELINUX}/config`,
      hint: "SELINUXTYPE in /etc/selinux/config names a directory beside it",
    });
  }
  return components;
}

function requireDirectories(root: Directory, path: ByteString): void {
  const found = findStrictly(root, path);
  if (found === undefined) {
    throw lookupError("not-found", `/${path}`, {
      hint: "SELINUXTYPE in /etc/selinux/config names a policy that is not installed; quotes and comments are part of the name",
    });
  }
  if (!(found.node instanceof Directory)) throw lookupError("not-a-directory", `/${path}`);
}

function noFileContexts(directory: ByteString, name: string): ComposefsError {
  const path = displayBytes(`/${directory}/file_contexts`);
  return new ComposefsError("invalid", `the SELinux policy ${JSON.stringify(name)} has no ${path}`, {
    path,
    reason: "selinux-no-file-contexts",
    hint: "install the policy that /etc/selinux/config names, or remove the line SELINUXTYPE there",
  });
}
