// `composefs deploy gc` (docs/spec/deployments.md, section 4.8)

import type { Command } from "../command.ts";
import { gcDocument, noteWarnings, printGc } from "../deploy-gc-output.ts";
import { openSysroot, SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";

export const deployGcCommand: Command = {
  name: "deploy gc",
  summary: "remove what no boot entry needs: kernels, state, images",
  description:
    "What the boot menu names is kept, whatever else is damaged. Kernels, UKIs and state directories that no entry needs go, then the tags " +
    "of images that no deployment uses, then all that nothing keeps in the repository. Images and tags of others stay. Everything is decided " +
    "before anything is removed; what was interrupted is finished by the next run.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS,
    { name: "dry-run", short: "n", description: "only say what would be removed; nothing is written" },
    { name: "boot-files-only", description: "leave state directories, tags and the repository alone" },
    { name: "prune-boot-entries", description: "also remove entries of deployments that have no state directory" },
    { name: "allow-empty", description: "go on offline when no entry can be read: everything goes" },
    { name: "assert-no-op", description: "remove nothing, and fail if anything would go" },
  ],
  examples: [
    { line: "deploy gc --dry-run", says: "on the system that runs: look first" },
    { line: "deploy gc --sysroot ./root", says: "clean a disk image" },
    { line: "deploy gc --sysroot ./root --assert-no-op", says: "check in a pipeline that it is clean" },
  ],
  interrupted: "interrupted; nothing that a deployment needs was touched: run deploy gc again",
  async run(context) {
    const { flag, out, global } = context;
    const options = {
      pruneRepository: !flag("boot-files-only"),
      pruneBootEntries: flag("prune-boot-entries"),
      allowEmpty: flag("allow-empty"),
    };
    const { assertCollected, deployGc, deployGcDryRun } = await import("../../deploy/collect.ts");
    const print = async (result: Awaited<ReturnType<typeof deployGc>>) => {
      await noteWarnings(context, result);
      if (global.json) await out.json(gcDocument(result));
      else await printGc(context, result);
    };
    if (flag("dry-run") || flag("assert-no-op")) {
      const { locateSysroot } = await import("../../deploy/location.ts");
      const { Repository } = await import("../../repository/repository.ts");
      const location = locateSysroot(sysrootPaths(context));
      const lock = context.lock(location.repository);
      await using repository = await Repository.open(location.repository, {
        noUpgrade: true,
        signal: context.signal,
        lock,
      });
      const result = await deployGcDryRun(location, repository, options, context.signal);
      await print(result);
      if (flag("assert-no-op")) assertCollected(result, location.sysroot);
      return;
    }
    await using sysroot = await openSysroot(context);
    await print(await deployGc(sysroot, options));
  },
};
