// What the commands that scan a directory have in common: options, and which hash the digests have (docs/spec/tree.md, section 4).

import type { Algorithm } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { jobsGiven, jobsOption } from "./jobs.ts";
import { TREE_OPTIONS, xattrMode } from "./tree-options.ts";

/** Options of `compute-id`, `create-dumpfile` and `create-image`. */
export const DIRECTORY_OPTIONS: readonly OptionSpec[] = [
  {
    name: "no-propagate-usr-to-root",
    description: "take the directory as it is: root, /run and all xattrs stay (--xattrs means nothing then)",
  },
  ...TREE_OPTIONS,
  jobsOption("threads that read and hash files"),
];

/** What the options say about the tree. */
export function directoryOptions(context: Context) {
  const containerRoot = !context.flag("no-propagate-usr-to-root");
  if (!containerRoot && process.getuid?.() !== 0) {
    context.note("only root sees trusted.* xattrs: where there are any, the result lacks them");
  }
  return {
    containerRoot,
    xattrMode: xattrMode(context),
    threads: jobsGiven(context),
    signal: context.signal,
    onProgress: context.progress,
  };
}

/**
 * The hash of a command that stores nothing: --hash, that of the repository, or sha512. Only a repository that was asked for
 * must be there.
 */
export async function directoryAlgorithm(context: Context): Promise<Algorithm> {
  const { hash, repo, user, system, noRepo } = context.global;
  if (hash !== undefined) return hash;
  if (noRepo) return "sha512";
  try {
    await using repository = await context.openRepository();
    return repository.algorithm;
  } catch (error) {
    if (repo !== undefined || user || system || context.signal.aborted) throw error;
    return "sha512";
  }
}
