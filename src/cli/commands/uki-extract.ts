// `composefs uki extract FILE DIRECTORY`: kernel and initramfs out of a unified kernel image

import type { Command } from "../command.ts";

export const ukiExtract: Command = {
  name: "uki extract",
  summary: "write the kernel and initramfs of a unified kernel image into files",
  description:
    "They become DIRECTORY/VERSION/vmlinuz and DIRECTORY/VERSION/initramfs.img, where VERSION is the kernel version that the " +
    "UKI names. The directory of the version must not exist, and appears complete or not at all.",
  arguments: [
    { name: "FILE", description: "the UKI", completes: "file" },
    { name: "DIRECTORY", description: "where the files go; made when missing", completes: "directory" },
  ],
  options: [],
  examples: [{ line: "uki extract os.efi ./kernels", says: "writes ./kernels/6.12.1/vmlinuz and its initramfs.img" }],
  async run({ args, global, out, signal }) {
    const [path = "", directory = ""] = args;
    const { openFileSource } = await import("../../boot/file-source.ts");
    const { PeFile } = await import("../../boot/pe/read.ts");
    const { extractUki } = await import("../../boot/uki/extract.ts");
    using file = openFileSource(path);
    const extracted = extractUki(PeFile.read(file, path), directory, signal);
    if (global.json) await out.json(extracted);
    else for (const written of extracted.files) await out.line(written.path);
  },
};
