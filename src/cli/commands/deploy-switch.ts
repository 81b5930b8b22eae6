// `composefs deploy switch NAME` (docs/spec/deployments.md, section 4.4)

import { applyUpdate } from "../apply-update.ts";
import type { Command } from "../command.ts";
import { openSysroot, SYSROOT_OPTIONS } from "../deploy-options.ts";
import { printUpdate, UNIFIED_OPTION, UPDATE_OPTIONS, updateGiven } from "../update-options.ts";

export const deploySwitch: Command = {
  name: "deploy switch",
  summary: "stage another image, to be followed from now on",
  description:
    "NAME is the image on a registry, or where --transport says: --transport oci ./image:v2. It is pulled and staged as by deploy upgrade. " +
    "An image with the same content as a deployment is refused; with --in-place that deployment, if it is the booted or the staged one, " +
    "only follows the new reference.",
  arguments: [{ name: "NAME", description: "the image, without transport" }],
  options: [
    ...SYSROOT_OPTIONS,
    {
      name: "transport",
      value: "TRANSPORT",
      description:
        "registry, oci, oci-archive, docker-archive, containers-storage, dir or docker-daemon; registry when left out",
    },
    { name: "in-place", description: "a deployment with the same content follows the new reference" },
    { name: "download-only", description: "stage it, and do not make it the default before upgrade --from-downloaded" },
    ...UPDATE_OPTIONS,
    UNIFIED_OPTION,
  ],
  examples: [
    { line: "deploy switch h.example/project/os:v2", says: "another image of a registry" },
    { line: "deploy switch --transport oci ./image:v2 --sysroot /mnt --esp /mnt/efi", says: "a disk that is mounted" },
  ],
  interrupted: "interrupted; the default is what it was. Run the same command again to go on",
  async run(context) {
    const { args, flag, text } = context;
    const { parseSwitchTarget } = await import("../../deploy/image-reference.ts");
    const reference = parseSwitchTarget(args[0] ?? "", text("transport"));
    const options = {
      ...(await updateGiven(context)),
      inPlace: flag("in-place"),
      downloadOnly: flag("download-only"),
    };
    const { switchDeployment } = await import("../../deploy/switch.ts");
    const result = await (async () => {
      await using sysroot = await openSysroot(context);
      return await switchDeployment(sysroot, reference, options);
    })();
    await printUpdate(context, result);
    await applyUpdate(context, result);
  },
};
