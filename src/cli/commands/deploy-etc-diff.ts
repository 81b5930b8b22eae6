// `composefs deploy etc-diff` (docs/spec/deployments.md, sections 5 and 6)

import type { Command } from "../command.ts";
import { BASE_OPTIONS, baseOption, SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";
import { METADATA_OPTIONS, metadataGiven } from "../update-options.ts";

export const deployEtcDiff: Command = {
  name: "deploy etc-diff",
  summary: "show what was changed in /etc since the image of the deployment",
  description:
    "Compares the current /etc with that of the image: these are the changes that an update carries over. With --new also what would " +
    "conflict with another image: paths that are a directory on one side only. Writes nothing. Without root, owners and labels do not count.",
  arguments: [],
  options: [
    {
      name: "new",
      value: "ID",
      description: "the deployment whose image the changes are to be carried over to",
      completes: "deployment",
    },
    ...BASE_OPTIONS,
    ...METADATA_OPTIONS,
    ...SYSROOT_OPTIONS,
  ],
  examples: [
    { line: "deploy etc-diff", says: "of the running system" },
    {
      line: "deploy etc-diff --sysroot /mnt --base ID --new ID --json",
      says: "of a mounted disk, with conflicts, for scripts",
    },
  ],
  async run(context) {
    const { text, global, out, signal, lock } = context;
    const { locateSysroot } = await import("../../deploy/location.ts");
    const { readSysroot } = await import("../../deploy/sysroot.ts");
    const { etcDiff } = await import("../../deploy/etc-diff.ts");
    const { Repository } = await import("../../repository/repository.ts");
    const { displayBytes } = await import("../../bytes/byte-string.ts");
    const location = locateSysroot(sysrootPaths(context));
    const waiting = lock(location.repository);
    const state = await readSysroot(location, { signal, lock: waiting });
    await using repository = await Repository.open(location.repository, { noUpgrade: true, signal, lock: waiting });
    const found = await etcDiff(location, state, repository, {
      ...metadataGiven(context),
      base: baseOption(context),
      next: text("new"),
      signal,
    });
    const [added, modified, removed, ignored] = [found.added, found.modified, found.removed, found.ignored].map(
      (paths) => paths.map(displayBytes),
    ) as [string[], string[], string[], string[]];
    const conflicts = found.conflicts.map(({ path, kind }) => ({ path: displayBytes(path), kind }));
    if (global.json) return out.json({ added, modified, removed, ignored, conflicts });
    const lines = [
      ...added.map((path) => `Added ${path}`),
      ...modified.map((path) => `Modified ${path}`),
      ...removed.map((path) => `Removed ${path}`),
      ...conflicts.map(({ path, kind }) => `Conflict ${path} (${kind})`),
    ];
    return out.write(lines.map((line) => `${line}\n`).join(""));
  },
};
