// `composefs compute-id PATH`: the image id of a directory

import type { Command, Context } from "../command.ts";
import {
  BOOT_MTIMES,
  BOOTABLE,
  type BootableRun,
  bootableRun,
  differencesAsJson,
  LINT_LABELS,
} from "../boot-options.ts";
import { directoryAlgorithm, directoryOptions, DIRECTORY_OPTIONS } from "../directory-options.ts";
import { UsageError } from "../failure.ts";

export const computeId: Command = {
  name: "compute-id",
  summary: "compute the image id of a directory; writes nothing",
  description:
    "The hash is that of --hash, else the repository's, else sha512; the format that of --erofs-version, else 1. " +
    "Without root some files may not be readable, and with --no-propagate-usr-to-root trusted.* xattrs are not seen.",
  arguments: [{ name: "PATH", description: "the directory, usually a root file system", completes: "directory" }],
  options: [
    BOOTABLE,
    BOOT_MTIMES,
    LINT_LABELS,
    ...DIRECTORY_OPTIONS,
    { name: "all-variants", description: "the ids of every hash and format, from one reading of the directory" },
  ],
  examples: [
    { line: "compute-id ./rootfs", says: "the id that create-image would store it under" },
    { line: "compute-id --hash sha256 --erofs-version 2 ./rootfs", says: "that of another hash and format" },
    { line: "compute-id --bootable ./rootfs", says: "the digest for the kernel command line of the image" },
    { line: "compute-id --all-variants ./rootfs", says: "which variant is the id that somebody else has?" },
  ],
  async run(context) {
    const { args, global, out } = context;
    const [path = ""] = args;
    if (context.flag("all-variants")) return allVariants(context, path);
    const algorithm = await directoryAlgorithm(context);
    const version = global.erofsVersion ?? 1;
    const { computeDirectoryId } = await import("../../image/directory-id.ts");
    const boot = await bootableRun(context, path);
    const options = { ...directoryOptions(context), transform: boot.transform };
    const id = await computeDirectoryId(path, { ...options, algorithm, version });
    if (global.json) await out.json({ path, id, format: version, algorithm, ...(await ofBoot(boot)) });
    else await out.line(id);
    return undefined;
  },
};

async function allVariants(context: Context, path: string): Promise<void> {
  const { hash, erofsVersion, json } = context.global;
  if (hash !== undefined || erofsVersion !== undefined) {
    throw new UsageError("--all-variants leaves nothing to choose", "leave --hash and --erofs-version out");
  }
  const { computeAllDirectoryIds } = await import("../../image/directory-id.ts");
  const boot = await bootableRun(context, path);
  const ids = await computeAllDirectoryIds(path, { ...directoryOptions(context), transform: boot.transform });
  if (json) {
    const variants = ids.map(({ version, ...rest }) => ({ ...rest, format: version }));
    await context.out.json({ path, variants, ...(await ofBoot(boot)) });
    return;
  }
  for (const { algorithm, version, id } of ids) await context.out.line(`${algorithm} v${version} ${id}`);
}

async function ofBoot({ transform, labelDifferences }: BootableRun): Promise<object> {
  return {
    bootable: transform !== undefined,
    ...(labelDifferences === undefined ? {} : { label_differences: await differencesAsJson(labelDifferences) }),
  };
}
