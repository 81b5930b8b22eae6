// The table of commands. Each is loaded only when it is needed.

import type { Command } from "./command.ts";

/** Loads one command. */
export type CommandLoader = () => Promise<Command>;

/** Every command by its words, in the order of the help text. */
export const COMMANDS: ReadonlyMap<string, CommandLoader> = new Map<string, CommandLoader>([
  ["init", async () => (await import("./commands/init.ts")).init],
  ["cat", async () => (await import("./commands/cat.ts")).cat],
  ["images", async () => (await import("./commands/images.ts")).images],
  ["image-objects", async () => (await import("./commands/image-objects.ts")).imageObjects],
  ["import-image", async () => (await import("./commands/import-image.ts")).importImage],
  ["create-image", async () => (await import("./commands/create-image.ts")).createImage],
  ["compute-id", async () => (await import("./commands/compute-id.ts")).computeId],
  ["compute-karg", async () => (await import("./commands/compute-karg.ts")).computeKarg],
  ["create-dumpfile", async () => (await import("./commands/create-dumpfile.ts")).createDumpfile],
  ["dump-files", async () => (await import("./commands/dump-files.ts")).dumpFiles],
  ["mount", async () => (await import("./commands/mount.ts")).mount],
  ["diff", async () => (await import("./commands/diff.ts")).diff],
  ["explain", async () => (await import("./commands/explain.ts")).explain],
  ["gc", async () => (await import("./commands/gc.ts")).gc],
  ["fsck", async () => (await import("./commands/fsck.ts")).fsck],
  ["transaction", async () => (await import("./commands/transaction.ts")).transaction],
  ["measure-file", async () => (await import("./commands/measure-file.ts")).measureFile],
  ["oci pull", async () => (await import("./commands/oci-pull.ts")).ociPull],
  ["oci images", async () => (await import("./commands/oci-images.ts")).ociImages],
  ["oci inspect", async () => (await import("./commands/oci-inspect.ts")).ociInspect],
  ["oci tag", async () => (await import("./commands/oci-tag.ts")).ociTag],
  ["oci untag", async () => (await import("./commands/oci-untag.ts")).ociUntag],
  ["oci dump", async () => (await import("./commands/oci-dump.ts")).ociDump],
  ["oci compute-id", async () => (await import("./commands/oci-compute-id.ts")).ociComputeId],
  ["oci prepare-boot", async () => (await import("./commands/oci-prepare-boot.ts")).ociPrepareBoot],
  ["oci mount", async () => (await import("./commands/oci-mount.ts")).ociMount],
  ["oci remove-boot", async () => (await import("./commands/oci-remove-boot.ts")).ociRemoveBoot],
  ["oci copy", async () => (await import("./commands/oci-copy.ts")).ociCopy],
  ["oci import-layer", async () => (await import("./commands/oci-import-layer.ts")).ociImportLayer],
  ["oci layer", async () => (await import("./commands/oci-layer.ts")).ociLayer],
  ["seal", async () => (await import("./commands/seal.ts")).seal],
  ["uki build", async () => (await import("./commands/uki-build.ts")).ukiBuild],
  ["uki inspect", async () => (await import("./commands/uki-inspect.ts")).ukiInspect],
  ["uki extract", async () => (await import("./commands/uki-extract.ts")).ukiExtract],
  ["deploy install", async () => (await import("./commands/deploy-install.ts")).deployInstall],
  ["deploy upgrade", async () => (await import("./commands/deploy-upgrade.ts")).deployUpgrade],
  ["deploy switch", async () => (await import("./commands/deploy-switch.ts")).deploySwitch],
  ["deploy finalize", async () => (await import("./commands/deploy-finalize.ts")).deployFinalize],
  ["deploy status", async () => (await import("./commands/deploy-status.ts")).deployStatus],
  ["deploy check", async () => (await import("./commands/deploy-check.ts")).deployCheck],
  ["deploy export", async () => (await import("./commands/deploy-export.ts")).deployExport],
  ["deploy etc-diff", async () => (await import("./commands/deploy-etc-diff.ts")).deployEtcDiff],
  ["deploy disk", async () => (await import("./commands/deploy-disk.ts")).deployDisk],
  ["deploy rollback", async () => (await import("./commands/deploy-rollback.ts")).deployRollback],
  ["deploy delete", async () => (await import("./commands/deploy-delete.ts")).deployDelete],
  ["deploy gc", async () => (await import("./commands/deploy-gc.ts")).deployGcCommand],
  ["completion", async () => (await import("./commands/completion.ts")).completion],
  ["help", async () => (await import("./commands/help.ts")).help],
  ["__complete", async () => (await import("./commands/complete-line.ts")).completeLine],
]);

/** Other names of commands, as `cfsctl` has them. */
export const ALIASES: ReadonlyMap<string, string> = new Map([["list-images", "images"]]);

/** What a first word that groups commands is about. */
export const GROUPS: ReadonlyMap<string, string> = new Map([
  ["deploy", "bootable deployments of a sysroot"],
  ["oci", "OCI images: pull, list, inspect, tag, copy"],
  ["uki", "unified kernel images: build, inspect, extract"],
]);

/** All commands that people see, loaded. */
export async function visibleCommands(): Promise<Command[]> {
  const commands = await Promise.all([...COMMANDS.values()].map(async (load) => load()));
  return commands.filter((command) => !command.hidden);
}
