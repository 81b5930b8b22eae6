// `--apply` of upgrade and switch (docs/spec/deployments.md, section 4.4): restarts the machine when something waits for that.

import { spawnSync } from "node:child_process";
import { ComposefsError, type UpdateResult } from "../index.ts";
import type { Context } from "./command.ts";

/** Restarts the machine if that was asked for and something is staged, now or before. */
export async function applyUpdate({ flag, note }: Pick<Context, "flag" | "note">, result: UpdateResult): Promise<void> {
  if (!flag("apply")) return;
  const { decision, staged, finalized } = result;
  const waits = staged !== undefined || decision.action === "unlock" || isStaged(result);
  if (!waits || finalized !== undefined) {
    note("nothing is staged: the machine is not restarted");
    return;
  }
  const { error, status, stderr } = spawnSync("systemctl", ["reboot"], { encoding: "utf8" });
  if (error || status !== 0)
    throw new ComposefsError("io", `the machine cannot be restarted: ${error?.message ?? stderr.trim()}`, {
      hint: "the update is staged: restart the machine by hand",
    });
}

function isStaged({ decision, hasStaged }: UpdateResult): boolean {
  return (
    decision.action === "none" && (decision.reason === "staged" || (decision.reason === "unchanged-spec" && hasStaged))
  );
}
