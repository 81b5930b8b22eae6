// `composefs deploy rollback` (docs/spec/deployments.md, section 4.6)

import type { RollbackPlan } from "../../index.ts";
import type { Command } from "../command.ts";
import { openSysroot, SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";

export const deployRollback: Command = {
  name: "deploy rollback",
  summary: "boot the deployment before this one next; once more takes that back",
  description:
    "Changes the order of the boot menu. A deployment that is staged is dropped. Of a sysroot that does not run, any deployment of its menu " +
    "can be made the default with --to.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS,
    {
      name: "to",
      value: "ID",
      description: "the deployment to boot, of a sysroot that does not run",
      completes: "deployment",
    },
    { name: "dry-run", short: "n", description: "only say what the order would be; nothing is written" },
  ],
  examples: [
    { line: "deploy rollback", says: "on the system that runs" },
    { line: "deploy rollback --sysroot ./root --to 4c27143f...", says: "choose what a disk image boots" },
  ],
  interrupted:
    "interrupted; the menu has its old order or the new one: run deploy status, and deploy rollback again if need be",
  async run(context) {
    const { flag, global, out, text, signal } = context;
    const dryRun = flag("dry-run");
    const { checkRollbackTarget, rollBack } = await import("../../deploy/carry-out-rollback.ts");
    let plan: RollbackPlan;
    if (dryRun) {
      const { locateSysroot } = await import("../../deploy/location.ts");
      const { readSysroot } = await import("../../deploy/sysroot.ts");
      const { planRollback } = await import("../../deploy/rollback.ts");
      const location = locateSysroot(sysrootPaths(context));
      checkRollbackTarget(location.bootedId, text("to"));
      const state = await readSysroot(location, { signal, lock: context.lock(location.repository) });
      plan = planRollback(state, text("to"));
    } else {
      await using sysroot = await openSysroot(context);
      plan = await rollBack(sysroot, text("to"));
    }
    const { order, reverting, dropStaged, nextBoot } = plan;
    if (global.json) return out.json({ dryRun, order, reverting, dropStaged, nextBoot });
    return out.line(`Next boot: ${nextBoot} deployment`);
  },
};
