// `composefs deploy install REFERENCE` (docs/spec/deployments.md, section 4.3)

import type { HostImage, InstalledDeployment, InstallOptions } from "../../index.ts";
import type { Command } from "../command.ts";
import { SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";
import { UsageError } from "../failure.ts";
import {
  BOOT_OPTIONS,
  FETCH_OPTIONS,
  fetchGiven,
  lines,
  METADATA_OPTIONS,
  metadataGiven,
  UNIFIED_OPTION,
} from "../update-options.ts";

export const deployInstall: Command = {
  name: "deploy install",
  summary: "install an image as the first deployment of a sysroot",
  description:
    "Makes the repository of the sysroot, pulls the image into it, and puts its kernel and initramfs, or its UKI, with a boot entry where " +
    "the boot loader finds them. /etc and /var are filled from the image. Nothing is mounted or formatted: the file systems are there, and " +
    "the boot loader is, too. The entry comes last, and a command that was cut can be repeated. Whether the system is to boot files without " +
    "fs-verity is said by --sealed or --allow-missing-verity, whatever this machine can do; without either it is as the repository requires. " +
    "The hash and the format of a new repository are those of --hash and --erofs-version.",
  arguments: [{ name: "REFERENCE", description: "the image, as for oci pull", completes: "reference" }],
  options: [
    ...SYSROOT_OPTIONS,
    ...BOOT_OPTIONS,
    { name: "sealed", description: "the system boots only what has fs-verity" },
    { name: "allow-missing-verity", description: "the system boots also what has no fs-verity" },
    {
      name: "target",
      value: "REFERENCE",
      description: "what upgrades are to follow; REFERENCE when left out",
      completes: "reference",
    },
    { name: "allow-existing", description: "beside deployments that are there; the new one becomes the default" },
    ...METADATA_OPTIONS,
    ...FETCH_OPTIONS,
    UNIFIED_OPTION,
    { name: "dry-run", description: "find out whether it could be installed, and write nothing" },
  ],
  examples: [
    {
      line: "deploy install oci:./os:v1 --root /mnt --bootloader systemd --esp /mnt/efi --karg rw --sealed",
      says: "onto a disk that is mounted at /mnt",
    },
    {
      line: "deploy install oci:./os:v1 --target docker://h.example/os:v1 --root ./root --bootloader grub",
      says: "into a directory, to be upgraded from a registry",
    },
  ],
  interrupted: "interrupted; no entry boots what is not complete. Run the same command again to go on",
  async run(context) {
    const { args, global, text, list, flag, out, signal, progress } = context;
    const verity = flag("sealed") ? "sealed" : flag("allow-missing-verity") ? "allow-missing" : undefined;
    if (flag("sealed") && flag("allow-missing-verity"))
      throw new UsageError("--sealed and --allow-missing-verity exclude each other");
    const reference = await parseReference(args[0] ?? "");
    const target = text("target");
    const { installDeployment } = await import("../../deploy/install.ts");
    const { locateSysroot } = await import("../../deploy/location.ts");
    const paths = sysrootPaths(context);
    const options: InstallOptions = {
      ...metadataGiven(context),
      ...(await fetchGiven(context)),
      ...(global.hash && { algorithm: global.hash }),
      ...(isStoredFormat(global.erofsVersion) && { erofsVersion: global.erofsVersion }),
      kargs: list("karg"),
      addons: list("addon"),
      espUuid: text("esp-uuid"),
      verity,
      target: target === undefined ? undefined : await parseReference(target),
      allowExisting: flag("allow-existing"),
      dryRun: flag("dry-run"),
      signal,
      onProgress: progress,
      lock: context.lock(locateSysroot(paths).sysroot),
    };
    const installed = await installDeployment(paths, reference, options);
    if (global.json) await out.json(asJson(installed));
    else await out.write(asText(installed));
  },
};

function isStoredFormat(version: number | undefined): version is 1 | 2 {
  return version === 1 || version === 2;
}

async function parseReference(text: string): Promise<HostImage> {
  const { parseHostImage } = await import("../../deploy/image-reference.ts");
  return parseHostImage(text.startsWith("ostree-") ? text : `ostree-unverified-image:${text}`);
}

function asText({ id, manifest, bootType, order, files, dryRun }: InstalledDeployment): string {
  return lines([
    ["action", dryRun ? "install, not done" : "install"],
    ["manifest", manifest],
    ["id", id],
    ["boots", bootType],
    ...files.map(({ step, result }): [string, string] => [result, step.path]),
    ["menu", order.length > 1 ? `${order.length} deployments, this one first` : undefined],
  ]);
}

function asJson({ id, manifest, bootType, bootDigest, order, files, dryRun }: InstalledDeployment): object {
  return {
    action: "install",
    dryRun,
    manifest,
    id: id ?? null,
    bootType: bootType ?? null,
    bootDigest: bootDigest ?? null,
    order,
    files: files.map(({ step, result, size, sha256 }) => ({
      path: step.path,
      result,
      size,
      sha256,
    })),
  };
}
