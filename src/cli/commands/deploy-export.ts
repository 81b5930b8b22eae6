// `composefs deploy export` (docs/spec/deployments.md, section 4.10)

import type { Command } from "../command.ts";
import { SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";
import { UsageError } from "../failure.ts";

export const deployExport: Command = {
  name: "deploy export",
  summary: "write the image of a deployment into an OCI layout or archive",
  description:
    "From the repository alone, without network. Layers are the archives that were imported, byte for byte: config and diff ids stay what " +
    "they were. They are compressed with gzip, but for those that came uncompressed; the manifest then has another digest.",
  arguments: [
    {
      name: "DEPLOYMENT",
      optional: true,
      description: "its id, or the tag or digest of an image; the booted deployment when left out",
      completes: "deployment",
    },
  ],
  options: [
    { name: "to", value: "TARGET", description: "oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG]" },
    { name: "uncompressed", description: "write plain tar archives" },
    ...SYSROOT_OPTIONS,
  ],
  examples: [
    { line: "deploy export --to oci-archive:os.tar", says: "what runs, into one file" },
    { line: "deploy export ID --sysroot /mnt --to oci:./layout:v1", says: "a deployment of a mounted disk" },
  ],
  async run(context) {
    const { args, text, flag, global, out, signal, progress, lock } = context;
    const to = text("to");
    if (to === undefined) throw new UsageError("deploy export: --to is missing", "see composefs deploy export --help");
    const { locateSysroot } = await import("../../deploy/location.ts");
    const { readSysroot } = await import("../../deploy/sysroot.ts");
    const { deploymentImage } = await import("../../deploy/exported-image.ts");
    const { exportImage, parseExportTarget } = await import("../../oci/export.ts");
    const { Repository } = await import("../../repository/repository.ts");
    parseExportTarget(to);
    const location = locateSysroot(sysrootPaths(context));
    const waiting = lock(location.repository);
    const name = deploymentImage(await readSysroot(location, { signal, lock: waiting }), args[0]);
    await using repository = await Repository.open(location.repository, { noUpgrade: true, signal, lock: waiting });
    const exported = await exportImage(repository, name, to, {
      uncompressed: flag("uncompressed"),
      signal,
      onProgress: progress,
    });
    return global.json ? out.json(exported) : out.line(exported.manifest);
  },
};
