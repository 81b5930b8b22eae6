// `composefs deploy upgrade` (docs/spec/deployments.md, section 4.4)

import type { LayerDifference, LayerSum } from "../../index.ts";
import type { Command } from "../command.ts";
import { openSysroot, SYSROOT_OPTIONS } from "../deploy-options.ts";
import { UsageError } from "../failure.ts";
import { applyUpdate } from "../apply-update.ts";
import { formatSize } from "../size.ts";
import { lines, printUpdate, UNIFIED_OPTION, UPDATE_OPTIONS, updateGiven } from "../update-options.ts";

export const deployUpgrade: Command = {
  name: "deploy upgrade",
  summary: "stage the newest image that a deployment follows",
  description:
    "Asks where the image of the booted deployment comes from whether there is a newer one, pulls it, and stages it: the running system is " +
    "not touched, and when the machine goes down, the local changes of /etc are merged and the new deployment becomes the default. A " +
    "sysroot that is not running has it as the default at once, based on the first deployment of the menu or on --base. What is not " +
    "needed any more is collected afterwards. When anything fails, the default stays what it was.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS,
    { name: "check", description: "only look, and say how many layers would be fetched; status shows it afterwards" },
    { name: "download-only", description: "stage it, and do not make it the default before --from-downloaded" },
    { name: "stage-only", description: "the same as --download-only" },
    { name: "from-downloaded", description: "have what was downloaded become the default when the machine goes down" },
    { name: "tag", value: "TAG", description: "follow this tag of the image from now on" },
    ...UPDATE_OPTIONS,
    UNIFIED_OPTION,
  ],
  examples: [
    { line: "deploy upgrade --check", says: "is there anything newer?" },
    { line: "deploy upgrade --apply", says: "stage it, and restart into it" },
    { line: "deploy upgrade --sysroot /mnt --esp /mnt/efi --conflicts keep-local", says: "a disk that is mounted" },
  ],
  interrupted: "interrupted; the default is what it was. Run the same command again to go on",
  async run(context) {
    const { flag, text, global, out } = context;
    const modes = ["check", "from-downloaded", "download-only"].filter(flag);
    if (modes.length > 1) throw new UsageError(`--${modes[0]} and --${modes[1]} exclude each other`);
    if (flag("check") && flag("apply")) throw new UsageError("--check and --apply exclude each other");
    const options = {
      ...(await updateGiven(context)),
      check: flag("check"),
      fromDownloaded: flag("from-downloaded"),
      downloadOnly: flag("download-only") || flag("stage-only"),
      tag: text("tag"),
    };
    const { upgradeDeployment } = await import("../../deploy/upgrade.ts");
    const result = await (async () => {
      await using sysroot = await openSysroot(context);
      return await upgradeDeployment(sysroot, options);
    })();
    const { layers } = result;
    await printUpdate(context, result, { layers: layers ?? null });
    if (layers && !global.json) await out.write(asText(layers));
    await applyUpdate(context, result);
  },
};

function asText({ total, removed, added }: LayerDifference): string {
  const sum = ({ layers, bytes }: LayerSum) => `${layers} layers, ${formatSize(bytes)}`;
  return lines([
    ["layers", sum(total)],
    ["removed", sum(removed)],
    ["added", sum(added)],
  ]);
}
