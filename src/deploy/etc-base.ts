// The three `/etc` of an update (docs/spec/deployments.md, sections 3.3 and 5): the pristine one of the base, the current one, and the new
// one; compared as far as they were written.

import { join } from "node:path";
import { parse, TomlError } from "smol-toml";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { findNode, isRegularFile, readText } from "../boot/tree-file.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { Directory } from "../tree/node.ts";
import { Directory as TreeDirectory, NO_XATTRS } from "../tree/node.ts";
import { scanDirectory } from "../tree/scan/scan.ts";
import { keepCarriedXattrs } from "./carried-xattrs.ts";
import { mergeEtcDirectories } from "./etc-apply.ts";
import { type EtcMerge, type EtcStrategy, mergeEtc } from "./etc-merge.ts";
import type { SysrootLocation } from "./location.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { rootDirectory } from "./seed.ts";
import { type MetadataOptions, metadataOptions, statePath } from "./state-directory.ts";

/** How the merge of `/etc` is done. */
export interface EtcOptions extends MetadataOptions {
  /** What happens on conflicts; `fail` when left out. */
  readonly conflicts?: EtcStrategy | undefined;
}

const SETUP_CONFIG = "/usr/lib/composefs/setup-root-conf.toml";
const CONFIG_LIMIT = 1 << 16;

/** The path of the current `/etc`: that of what runs, or offline the one in the state of the base. */
export function currentEtc({ etc, sysroot }: SysrootLocation, base: string): string {
  return etc ?? join(sysroot, statePath(base), "etc");
}

/**
 * Plans the merge for an image that is not on the disk yet. Writes nothing.
 *
 * @throws ComposefsError with the reason `E_ETC_CONFLICT` and the strategy `fail`
 */
export async function tryEtcMerge(
  sysroot: OpenSysroot,
  base: { readonly id: string; readonly tree: Directory },
  next: { readonly id: string; readonly tree: Directory },
  options: EtcOptions,
): Promise<EtcMerge | undefined> {
  const { repository, signal, location } = sysroot;
  if (await isEtcTransient(repository, base.tree)) return undefined;
  const path = currentEtc(location, base.id);
  const merge = await planEtcMerge(base.tree, path, next.tree, { ...options, algorithm: repository.algorithm, signal });
  checkConflicts(merge, path, next.id);
  return merge;
}

/** Options of {@link planEtcMerge}. */
export interface EtcPlanOptions extends EtcOptions {
  /** Of the digests in the trees. */
  readonly algorithm: Algorithm;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares a local `/etc` with that of the image it began as, and plans its merge into that of another one. Writes nothing.
 *
 * @param pristine the image that the local one began as; its `/etc` is changed
 * @param current path of the local one
 * @param next the other image; its `/etc` is changed
 */
export async function planEtcMerge(
  pristine: Directory,
  current: string,
  next: Directory,
  options: EtcPlanOptions,
): Promise<EtcMerge> {
  const { algorithm, signal, conflicts: strategy } = options;
  const { owners, xattrs } = metadataOptions(options);
  const { root } = await scanDirectory(current, { algorithms: [algorithm], xattrs: xattrs !== "none", signal });
  const [before, after] = [etcOf(pristine), etcOf(next)];
  for (const tree of [before, root, after]) keepCarriedXattrs(tree, xattrs, owners);
  return mergeEtc(before, root, after, { strategy, owners });
}

/**
 * Merges the local changes into the `/etc` of a deployment that was staged. Harmless to repeat.
 *
 * @returns undefined when `/etc` is made anew at every boot, so that nothing of it is kept
 * @throws ComposefsError with the reason `E_ETC_CONFLICT`; nothing was written then
 */
export async function applyEtcMerge(
  sysroot: OpenSysroot,
  base: { readonly id: string; readonly tree: Directory },
  next: string,
  options: EtcOptions & { readonly dryRun?: boolean | undefined },
): Promise<EtcMerge | undefined> {
  const { repository, signal, location } = sysroot;
  if (await isEtcTransient(repository, base.tree)) return undefined;
  const { owners, xattrs } = metadataOptions(options);
  const path = currentEtc(location, base.id);
  const pristine = etcOf(base.tree);
  keepCarriedXattrs(pristine, xattrs, owners);
  const merge = await mergeEtcDirectories(pristine, path, join(location.sysroot, statePath(next), "etc"), {
    strategy: options.conflicts,
    owners,
    xattrs,
    algorithm: repository.algorithm,
    dryRun: options.dryRun,
    signal,
  });
  checkConflicts(merge, path, next);
  return merge;
}

function etcOf(tree: Directory): Directory {
  const empty = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };
  const etc = rootDirectory(tree, "etc") ?? new TreeDirectory(empty);
  // It was removed when `/etc` was filled, and nobody's change.
  etc.entries.delete(".updated");
  return etc;
}

function checkConflicts({ conflicts, result }: EtcMerge, etc: string, id: string): void {
  if (result !== undefined) return;
  const list = conflicts.map(
    ({ path, kind }) =>
      `${etc}/${displayBytes(path)} ${kind === "directory-vs-nondirectory" ? "is a directory, and none in the image" : "is no directory, but one in the image"}`,
  );
  throw new ComposefsError("exists", `local changes cannot be merged into the deployment ${id}: ${list.join("; ")}`, {
    path: etc,
    digest: id,
    reason: "E_ETC_CONFLICT",
    hint: "move them away, or say with --conflicts keep-local or --conflicts take-image which side counts",
  });
}

// Section 4.5: what is lost at the next boot need not be merged.
async function isEtcTransient(repository: Repository, tree: Directory): Promise<boolean> {
  const node = findNode(tree, SETUP_CONFIG);
  if (!isRegularFile(node)) return false;
  const text = await readText({ path: SETUP_CONFIG, leaf: node }, repositoryBodies(repository), CONFIG_LIMIT);
  try {
    const { etc } = parse(text, { maxDepth: 8 }) as { etc?: { transient?: unknown } };
    return etc?.transient === true;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new ComposefsError("invalid", `${SETUP_CONFIG}, line ${error.line}: ${error.message.split("\n", 1)[0]}`, {
      cause: error,
      path: SETUP_CONFIG,
      line: error.line,
      hint: "the initramfs would not understand it either; repair it in the image",
    });
  }
}
