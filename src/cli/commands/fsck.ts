// `composefs fsck` (docs/spec/repository.md, section 10)

import type { FsckReport, RepairResult } from "../../index.ts";
import type { Command, Context } from "../command.ts";
import { UsageError } from "../failure.ts";

export const fsck: Command = {
  name: "fsck",
  summary: "check everything in the repository, and repair it with --repair",
  description:
    "Checks every object's content, every stream to its last byte, every image, and all names. Exit status 1 when " +
    "something is wrong. --repair removes what is damaged, so that a pull writes it again, and makes lost names anew; it " +
    "says which images to pull. Files that are not the repository's are reported and left alone.",
  arguments: [],
  options: [
    { name: "metadata-only", description: "do not read the contents of files: names, streams, images and sizes only" },
    { name: "repair", description: "repair what can be repaired" },
    { name: "dry-run", short: "n", description: "with --repair: only say what would be done" },
  ],
  examples: [
    { line: "fsck --json", says: "for scripts" },
    { line: "fsck --repair --dry-run", says: "what a repair would do" },
  ],
  async run(context) {
    const { global, flag, out, note, signal, progress, openRepository } = context;
    const options = { metadataOnly: flag("metadata-only"), signal, onProgress: progress };
    const { ComposefsError } = await import("../../error.ts");
    if (!flag("repair")) {
      if (flag("dry-run"))
        throw new UsageError("fsck: --dry-run is for --repair; without it nothing is changed anyway");
      const { checkRepository } = await import("../../repository/fsck/fsck.ts");
      await using repository = await openRepository();
      const report = await checkRepository(repository, options);
      if (global.json) await out.json(await reportDocument(report));
      else await printReport(context, report);
      if (report.ok) return 0;
      throw new ComposefsError("corrupt", "repository integrity check failed", {
        hint: "`composefs fsck --repair` repairs what can be repaired",
      });
    }
    if (options.metadataOnly)
      throw new UsageError("fsck: --repair and --metadata-only exclude each other", "a repair reads everything");
    const { repairRepository } = await import("../../repository/fsck/repair.ts");
    const dryRun = flag("dry-run");
    await using repository = await openRepository(dryRun ? {} : { write: true });
    const lock = context.lock(repository.path);
    const result = await repairRepository(repository, { ...options, dryRun, lock });
    if (global.json) await out.json(await repairDocument(result));
    else await printRepair(context, result);
    for (const name of result.restore) note(`incomplete, pull it again: ${await tagOf(name)}`);
    if (result.after.ok) return 0;
    throw new ComposefsError("corrupt", dryRun ? "the repository is damaged" : "the repository is not whole yet", {
      hint:
        result.restore.length > 0
          ? "pull the images named above again, then run fsck"
          : "what is left must be looked at by hand: see the errors above",
    });
  },
};

// Refs of OCI images by the names that people know them by.
async function tagOf(ref: string): Promise<string> {
  const { decodeTag } = await import("../../oci/tag-name.ts");
  return ref.startsWith("oci/") ? decodeTag(ref.slice(4)) : ref;
}

async function reportDocument(report: FsckReport): Promise<object> {
  const { findingMessage } = await import("../../repository/fsck/finding.ts");
  const errors = report.findings.filter(({ severity }) => severity === "error");
  return {
    ok: report.ok,
    has_metadata: report.hasMetadata,
    ...report.counters,
    errors: errors.map(findingMessage),
    findings: report.findings,
  };
}

async function printReport({ out }: Context, { hasMetadata, counters, findings, ok }: FsckReport): Promise<void> {
  const { findingMessage } = await import("../../repository/fsck/finding.ts");
  const meta = findings.some(({ kind }) => kind.startsWith("metadata-")) ? "error" : hasMetadata ? "ok" : "absent";
  const good = (checked: number, corrupted: number) => `${checked - corrupted}/${checked} ok`;
  const lines = [
    `meta.json: ${meta}`,
    `objects: ${good(counters.objects_checked, counters.objects_corrupted)}`,
    `streams: ${good(counters.streams_checked, counters.streams_corrupted)}`,
    `images: ${good(counters.images_checked, counters.images_corrupted)}`,
  ];
  if (counters.broken_links > 0) lines.push(`broken symlinks: ${counters.broken_links}`);
  if (counters.missing_objects > 0) lines.push(`missing objects: ${counters.missing_objects}`);
  const errors = findings.filter(({ severity }) => severity === "error");
  lines.push(ok ? "status: ok" : `status: ${errors.length} error(s)`);
  for (const finding of errors) lines.push(`  - ${findingMessage(finding)}`);
  const warnings = findings.filter(({ severity }) => severity === "warning");
  if (warnings.length > 0) lines.push(`warnings: ${warnings.length}`);
  for (const finding of warnings) lines.push(`  - ${findingMessage(finding)}`);
  await out.write(`${lines.join("\n")}\n`);
}

async function repairDocument({ dryRun, before, plan, after, restore }: RepairResult): Promise<object> {
  return {
    dry_run: dryRun,
    ok: after.ok,
    actions: plan.actions,
    restore,
    before: await reportDocument(before),
    after: await reportDocument(after),
  };
}

const DONE = {
  relink: "linked anew",
  "enable-verity": "fs-verity enabled",
  "drop-ref": "name removed",
  "drop-link": "link removed",
  "drop-object": "damaged object removed",
};

async function printRepair(context: Context, { dryRun, plan, after }: RepairResult): Promise<void> {
  const { out } = context;
  if (dryRun) await out.line("Dry run (nothing was changed):");
  for (const { action, path, target, reason } of plan.actions)
    await out.line(`${DONE[action]}: ${path}${target === undefined ? "" : ` -> ${target}`} (${reason})`);
  if (plan.actions.length === 0) await out.line("Nothing can be repaired without a pull, or nothing needs it");
  await printReport(context, after);
}
