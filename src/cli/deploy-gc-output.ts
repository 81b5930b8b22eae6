// What commands say about a collection of deployments (docs/spec/deployments.md, section 4.8).

import type { DeployGcResult } from "../index.ts";
import type { Context } from "./command.ts";

/** Warnings, for stderr. */
export async function noteWarnings(
  { note }: Pick<Context, "note">,
  { warnings }: Pick<DeployGcResult, "warnings">,
): Promise<void> {
  const { warningText } = await import("../deploy/warning-text.ts");
  for (const warning of warnings) note(`warning: ${warningText(warning)}`);
}

/** One line for each change, then what the repository lost. */
export async function printGc({ out }: Pick<Context, "out">, result: DeployGcResult): Promise<void> {
  const { gcSteps, gcStepText } = await import("../deploy/gc-steps.ts");
  const { plan, dryRun, migrated, leftovers } = result;
  if (dryRun) await out.line("Dry run (nothing is changed):");
  for (const digest of migrated) await out.line(`bring the image ${digest} up to date`);
  for (const path of leftovers) await out.line(`remove ${path}: a command that was killed left it`);
  for (const step of gcSteps(plan)) await out.line(gcStepText(step));
  if (plan.repoAfter === undefined) return;
  await out.line(`Objects: ${result.objectsRemoved} removed (${result.objectsBytes} bytes)`);
  if (result.imagesPruned + result.streamsPruned > 0)
    await out.line(`Pruned symlinks: ${result.imagesPruned} images, ${result.streamsPruned} streams`);
}

/** The document of a collection: its plan and what came of it. */
export function gcDocument({ plan, ...result }: DeployGcResult): object {
  return { ...plan, ...result };
}
