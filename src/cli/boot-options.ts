// Options of the commands that make the boot variant of an image (docs/spec/boot.md, section 2), and what they say.

import type { BootableTree, Directory, EmptiedMtimes, LabelDifference, Repository, TreeTransform } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** `--bootable` */
export const BOOTABLE: OptionSpec = {
  name: "bootable",
  description: "the boot variant: /boot and /sysroot emptied, files labelled by the SELinux policy in the image",
};

/** `--boot-mtimes` */
export const BOOT_MTIMES: OptionSpec = {
  name: "boot-mtimes",
  value: "PART",
  choices: ["seconds", "nanoseconds"],
  description: "what the emptied directories take of the time of /usr: seconds, or as cfsctl 0.9.4 nanoseconds too",
};

/** What `--boot-mtimes` says. */
export function bootMtimes({ text }: Context): EmptiedMtimes {
  return text("boot-mtimes") === "nanoseconds" ? "nanoseconds" : "seconds";
}

/** `--lint-labels` */
export const LINT_LABELS: OptionSpec = {
  name: "lint-labels",
  description: "with --bootable: say on stderr which files the running system would label otherwise",
};

/** Differences that are shown; with --json all are. */
const SHOWN = 20;

/** What a command knows about the labels after its tree was made. */
export interface BootableRun {
  /** For the scan of the directory; undefined without `--bootable`. */
  readonly transform: TreeTransform | undefined;
  /** Labels that libselinux would choose otherwise, when `--lint-labels` asks for them. */
  labelDifferences: readonly LabelDifference[] | undefined;
}

/**
 * The bootable transform as the options want it.
 *
 * @param repository where the files of the directory are being stored; undefined when nothing is stored
 */
export async function bootableRun(
  context: Context,
  path: string,
  options: { readonly repository?: Repository; readonly always?: boolean } = {},
): Promise<BootableRun> {
  const { repository, always = false } = options;
  const lint = context.flag("lint-labels");
  if (!always && !context.flag("bootable")) {
    if (lint) throw new UsageError("--lint-labels needs --bootable", "without it files have no labels");
    return { transform: undefined, labelDifferences: undefined };
  }
  const { bootableDirectory } = await import("../boot/boot-directory.ts");
  const onTransform = async ({ policy }: BootableTree, root: Directory) => {
    if (policy === undefined) context.note("the image has no SELinux policy: its files get no labels");
    if (lint) run.labelDifferences = policy === undefined ? [] : await differences(context, root, policy);
  };
  const run: BootableRun = {
    transform: bootableDirectory(path, {
      repository,
      mtimes: bootMtimes(context),
      onTransform,
      signal: context.signal,
    }),
    labelDifferences: undefined,
  };
  return run;
}

async function differences(
  context: Context,
  root: Directory,
  policy: NonNullable<BootableTree["policy"]>,
): Promise<readonly LabelDifference[]> {
  const { lintLabels } = await import("../boot/selinux/lint.ts");
  const { displayBytes } = await import("../bytes/byte-string.ts");
  const found = lintLabels(root, policy);
  for (const { path, label, expected, expectedRule, cause } of found.slice(0, SHOWN)) {
    const shown = (text: string | undefined) => (text === undefined ? "no label" : displayBytes(text));
    const where = expectedRule === undefined ? "" : ` (${expectedRule.file}, line ${expectedRule.line})`;
    context.note(
      `${displayBytes(path)}: labelled ${shown(label)}, the running system: ${shown(expected)}${where}: ${cause}`,
    );
  }
  if (found.length > SHOWN) context.note(`and ${found.length - SHOWN} more; --json lists all`);
  if (found.length === 0) context.note("every file has the label that the running system would give it");
  return found;
}

/** The differences for JSON. */
export async function differencesAsJson(found: readonly LabelDifference[]): Promise<object[]> {
  const { displayBytes } = await import("../bytes/byte-string.ts");
  const rule = (chosen: LabelDifference["rule"]) =>
    chosen === undefined ? null : { file: chosen.file, line: chosen.line };
  const text = (value: string | undefined) => (value === undefined ? null : displayBytes(value));
  return found.map(({ path, label, expected, cause, rule: ours, expectedRule }) => ({
    path: displayBytes(path),
    label: text(label),
    libselinux: text(expected),
    cause,
    rule: rule(ours),
    libselinux_rule: rule(expectedRule),
  }));
}
