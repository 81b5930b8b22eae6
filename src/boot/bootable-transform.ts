// The bootable transform (docs/spec/boot.md, section 2): /boot and /sysroot are emptied, so that an image can be booted by what names
// its digest, and every file gets the label of the image's own SELinux policy. Changes the tree in place, after the container transform.

import { ComposefsError } from "../error.ts";
import { isLookupFailure, walkDirectory } from "../tree/lookup.ts";
import type { Directory } from "../tree/node.ts";
import { discoverBootResources } from "./discover.ts";
import type { BootResource, ReadFile } from "./resource.ts";
import { labelWith, stripLabels } from "./selinux/label.ts";
import { Matcher, type MatcherCache } from "./selinux/matcher.ts";
import { loadPolicy, type Policy } from "./selinux/policy.ts";

/**
 * What the emptied directories take of the time of /usr. `seconds` leaves them their own nanoseconds, which is what the recorded digests
 * of cfsctl 0.9 depend on; cfsctl 0.9.4 takes the `nanoseconds` too. With whole seconds it makes no difference.
 */
export type EmptiedMtimes = "seconds" | "nanoseconds";

/** How to transform. */
export interface BootableOptions {
  /** Reads the bodies of small files that are not inline: of the policy, and of boot loader entries. */
  readonly readFile: ReadFile;
  /**
   * `repository`, which is the usual one, finds out what the image can be booted with, and fails if that is broken; `directory` is for
   * a directory on disk of which only the id is wanted, and follows symbolic links to the policy inside the directory.
   */
  readonly mode?: "repository" | "directory" | undefined;
  /** `seconds` when left out. */
  readonly mtimes?: EmptiedMtimes | undefined;
  /** Compiled rules, for who transforms many trees with the same policy. */
  readonly matchers?: MatcherCache | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the transform found. */
export interface BootableTree {
  /** What the image can be booted with, the first one deciding; empty in the mode `directory`. */
  readonly resources: readonly BootResource[];
  /** The policy that labelled the image; undefined when it is not labelled. */
  readonly policy: Policy | undefined;
}

const EMPTIED = ["boot", "sysroot"] as const;

/**
 * Makes the tree of a container image the tree of its boot image.
 *
 * @throws ComposefsError `invalid` before anything is changed: /usr, /boot or /sysroot is missing or no directory, a boot resource or the
 *   policy is broken. `reason` is a class of section 15, `path` and `line` say where
 * @example
 * ```ts
 * containerTransform(root);
 * const { resources } = await bootableTransform(root, { readFile });
 * const { id } = imageId(root, { version: 1, algorithm: "sha512" });
 * ```
 */
export async function bootableTransform(root: Directory, options: BootableOptions): Promise<BootableTree> {
  const { readFile, mode = "repository", mtimes = "seconds", matchers, signal } = options;
  const resources = mode === "repository" ? await discoverBootResources(root, readFile) : [];
  const usr = requireDirectory(root, "usr");
  const emptied = EMPTIED.map((name) => requireDirectory(root, name));
  const policy = await loadPolicy(root, readFile, { followLinks: mode === "directory" });
  const matcher = policy && (matchers?.get(policy.rules) ?? new Matcher(policy.rules));
  for (const directory of emptied) {
    const { mtimeSec, mtimeNsec } = usr.stat;
    directory.stat = { ...directory.stat, mtimeSec, ...(mtimes === "seconds" ? {} : { mtimeNsec }) };
    directory.entries.clear();
  }
  if (policy === undefined || matcher === undefined) stripLabels(root);
  else await labelWith(root, matcher, policy, signal);
  return { resources, policy };
}

function requireDirectory(root: Directory, name: "usr" | (typeof EMPTIED)[number]): Directory {
  const node = walkDirectory(root, [name]);
  if (!isLookupFailure(node)) return node;
  const isMissing = node.reason === "missing";
  throw new ComposefsError(
    "invalid",
    `${isMissing ? "there is no directory" : "not a directory:"} /${name} in the image`,
    {
      path: `/${name}`,
      reason: isMissing ? "not-found" : "not-a-directory",
      hint: "a bootable image has the directories /usr, /boot and /sysroot; the last two may be empty",
    },
  );
}
