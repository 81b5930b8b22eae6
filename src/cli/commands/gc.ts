// `composefs gc` (docs/spec/repository.md, section 9)

import type { GcPlan, GcResult } from "../../index.ts";
import type { Command, Context } from "../command.ts";

export const gc: Command = {
  name: "gc",
  summary: "remove everything that no name leads to",
  description:
    "Keeps what tags and other refs lead to, and what --root names; removes all other objects, the links to them, and " +
    "what crashed writers left. Waits for other users of the repository. When something in use cannot be read, nothing is " +
    "deleted; --dry-run then lists every reason.",
  arguments: [],
  options: [
    {
      name: "root",
      short: "r",
      value: "NAME",
      repeat: true,
      description: "keep this, too: a content identifier or an image id",
      completes: "stream",
    },
    { name: "dry-run", short: "n", description: "only say what would be removed" },
  ],
  examples: [
    { line: "gc --dry-run", says: "look first" },
    { line: "gc --wait 5m", says: "in a script, while others pull" },
  ],
  interrupted: "interrupted; what was removed until then is gone, nothing in use was touched: run gc again",
  async run(context) {
    const { global, flag, list, note, signal, progress, openRepository } = context;
    const { collectGarbage } = await import("../../repository/gc/collect.ts");
    const dryRun = flag("dry-run");
    await using repository = await openRepository(dryRun ? {} : { write: true });
    const result = await collectGarbage(repository, {
      dryRun,
      roots: list("root"),
      lock: context.lock(repository.path),
      signal,
      onProgress: progress,
    });
    for (const path of result.plan.foreign) note(`left alone, it is not the repository's: ${path}`);
    if (global.json) await context.out.json(document(result));
    else await printText(context, result);
    if (result.plan.problems.length === 0) return 0;
    for (const { path, message } of result.plan.problems) note(`cannot be followed: ${path}: ${message}`);
    const { incompleteWalk } = await import("../../repository/gc/collect.ts");
    throw incompleteWalk(result.plan);
  },
};

async function printText({ out }: Context, { dryRun, plan, objectBytes }: GcResult): Promise<void> {
  if (dryRun) await out.line("Dry run (no files deleted):");
  if (plan.problems.length > 0) return;
  await out.line(`Objects: ${plan.objects.length} removed (${objectBytes} bytes)`);
  if (plan.images.length + plan.streams.length > 0)
    await out.line(`Pruned symlinks: ${plan.images.length} images, ${plan.streams.length} streams`);
  if (plan.temporaries.length > 0) await out.line(`Leftovers: ${plan.temporaries.length} removed`);
}

function document({ dryRun, plan, objectBytes, directories }: GcResult): object {
  // With problems the plan is not one to follow.
  const removed: GcPlan =
    plan.problems.length === 0 ? plan : { ...plan, objects: [], images: [], streams: [], temporaries: [] };
  return {
    dry_run: dryRun,
    objects_removed: removed.objects.length,
    objects_bytes: plan.problems.length === 0 ? objectBytes : 0,
    images_pruned: removed.images.length,
    streams_pruned: removed.streams.length,
    leftovers_removed: removed.temporaries.length,
    objects_kept: plan.kept,
    roots: [...plan.roots.streams, ...plan.roots.images],
    removed: [...removed.images, ...removed.streams, ...removed.objects, ...removed.temporaries].map((entry) =>
      typeof entry === "string" ? entry : entry.path,
    ),
    directories_removed: directories,
    left_alone: plan.foreign,
    problems: plan.problems,
  };
}
