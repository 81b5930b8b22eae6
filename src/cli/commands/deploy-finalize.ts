// `composefs deploy finalize` (docs/spec/deployments.md, section 4.5)

import type { Command } from "../command.ts";
import { BASE_OPTIONS, baseOption, openSysroot, SYSROOT_OPTIONS } from "../deploy-options.ts";
import {
  CONFLICT_OPTION,
  conflictsGiven,
  finalizedJson,
  lines,
  mergeLines,
  METADATA_OPTIONS,
  metadataGiven,
} from "../update-options.ts";

export const deployFinalize: Command = {
  name: "deploy finalize",
  summary: "make the staged deployment the default",
  description:
    "Carries the local changes of /etc over to the staged deployment and makes it the default: what a service does when the machine goes " +
    "down. Conflicts are found before anything is written, and leave the old default. Harmless when nothing is staged, and when it was " +
    "cut before.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS,
    ...BASE_OPTIONS,
    CONFLICT_OPTION,
    ...METADATA_OPTIONS,
    { name: "dry-run", description: "print what would be merged, and write nothing" },
  ],
  examples: [
    { line: "deploy finalize --dry-run", says: "which local changes of /etc would be carried over?" },
    { line: "deploy finalize --sysroot /mnt --esp /mnt/efi", says: "after an upgrade with --no-finalize" },
  ],
  interrupted: "interrupted; there is a default that boots. Run the same command again to go on",
  async run(context) {
    const { flag, global, out, note } = context;
    const { finalizeDeployment } = await import("../../deploy/finalize.ts");
    const { warningText } = await import("../../deploy/warning-text.ts");
    await using sysroot = await openSysroot(context);
    const dryRun = flag("dry-run");
    const options = {
      ...metadataGiven(context),
      base: baseOption(context),
      conflicts: conflictsGiven(context),
      dryRun,
    };
    const result = await finalizeDeployment(sysroot, options);
    for (const warning of result.warnings) note(`warning: ${warningText(warning)}`);
    if (result.collectFailure)
      note(`warning: it is the default, but nothing was collected: ${result.collectFailure.message}`);
    if (global.json) return out.json({ ...finalizedJson(result), dryRun });
    const text = { finalized: "finalized", "nothing-staged": "nothing staged", "download-only": "download only" };
    await out.write(
      lines([
        ["action", `${text[result.result]}${dryRun ? ", not done" : ""}`],
        ["id", result.id],
        ["base", result.base],
        ...mergeLines(result.merge),
      ]),
    );
  },
};
