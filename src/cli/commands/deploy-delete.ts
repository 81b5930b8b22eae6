// `composefs deploy delete ID` (docs/spec/deployments.md, section 4.7)

import type { Command } from "../command.ts";
import { gcDocument, noteWarnings, printGc } from "../deploy-gc-output.ts";
import { openSysroot, SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";

export const deployDelete: Command = {
  name: "deploy delete",
  summary: "delete a deployment, damaged or not, and all that only it needs",
  description:
    "Its boot entries go first, then its state, its tag and what nothing else keeps in the repository. The deployment that runs is refused, " +
    "and of a sysroot that does not run the last one. Deleting the one that a queued rollback leads to takes the rollback back.",
  arguments: [
    { name: "ID", description: "the deployment, as status shows it as Verity, in full", completes: "deployment" },
  ],
  options: [
    ...SYSROOT_OPTIONS,
    { name: "force", description: "of a sysroot that does not run also the last one" },
    { name: "dry-run", short: "n", description: "only say which entries would go; nothing is written" },
  ],
  examples: [
    { line: "deploy delete 4c27143f...", says: "on the system that runs" },
    { line: "deploy delete 4c27143f... --sysroot ./root --dry-run", says: "look first" },
  ],
  interrupted: "interrupted; run deploy gc to remove what is left of the deployment",
  async run(context) {
    const { args, flag, global, out } = context;
    const [id = ""] = args;
    const force = flag("force");
    if (flag("dry-run")) {
      const { locateSysroot } = await import("../../deploy/location.ts");
      const { readSysroot } = await import("../../deploy/sysroot.ts");
      const { planDelete } = await import("../../deploy/delete.ts");
      const location = locateSysroot(sysrootPaths(context));
      const { signal } = context;
      const state = await readSysroot(location, { signal, lock: context.lock(location.repository) });
      const plan = planDelete(state, id, force);
      if (global.json) return out.json({ dryRun: true, ...plan });
      await out.line("Dry run (nothing is changed):");
      if (plan.unqueueRollback) await out.line("take the queued rollback back");
      if (plan.removeStagedEntries) await out.line("remove the staged boot entries");
      if (plan.removeStagedFile) await out.line("remove the staged deployment file");
      for (const file of new Set(plan.removeActiveEntries)) await out.line(`remove the boot entry ${file}`);
      return out.line("then as deploy gc");
    }
    const { deleteDeployment } = await import("../../deploy/delete-deployment.ts");
    await using sysroot = await openSysroot(context);
    const { plan, gc } = await deleteDeployment(sysroot, id, { force });
    await noteWarnings(context, gc);
    if (global.json) return out.json({ dryRun: false, ...plan, gc: gcDocument(gc) });
    await out.line(`Deleted ${id}`);
    return printGc(context, gc);
  },
};
