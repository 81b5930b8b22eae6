// `composefs oci prepare-boot IMAGE` (docs/spec/boot.md, section 9)

import type { PreparedBoot } from "../../index.ts";
import type { Command } from "../command.ts";

export const ociPrepareBoot: Command = {
  name: "oci prepare-boot",
  summary: "make an image bootable: its boot image, and a kernel with its entry, or a UKI, in a boot directory",
  description:
    "The first boot entry, UKI or kernel of the image is taken. Its files are copied into the boot directory, durably and with the " +
    "entry last; an entry gets the kernel argument that names the boot image, a UKI must have it already. The state of the deployment " +
    "gets its directories beside the repository. What is there already with the same content is kept.",
  arguments: [
    { name: "IMAGE", description: "the image", completes: "tag" },
    { name: "VERITY", optional: true, description: "expected object id of the config" },
  ],
  options: [
    {
      name: "bootdir",
      value: "DIR",
      description: "the boot directory or ESP; /boot when left out",
      completes: "directory",
    },
    {
      name: "entry-id",
      value: "ID",
      description:
        "names the entry and the directory of its files; else the kernel version or the names in the image do",
    },
    {
      name: "cmdline",
      value: "ARG",
      repeat: true,
      description: "a kernel argument more; of several with one name the last stays. Not for a UKI",
    },
    {
      name: "subdir",
      value: "DIR",
      description: "put everything into DIR below the boot directory",
    },
    {
      name: "title-from-os-release",
      description: "title and version of a kernel's entry from the image's os-release, instead of placeholders",
    },
    { name: "dry-run", description: "print what would be written, and write nothing" },
  ],
  examples: [
    { line: "oci prepare-boot os:v1 --cmdline rw --title-from-os-release", says: "into /boot" },
    { line: "oci prepare-boot os:v1 --bootdir ./esp --entry-id os --dry-run", says: "only say what would be done" },
  ],
  interrupted: "interrupted; no entry refers to what is missing. Run the same command again to go on",
  async run(context) {
    const { args, global, text, list, flag, out, signal, progress } = context;
    const [image = "", verity] = args;
    const dryRun = flag("dry-run");
    const { prepareBoot } = await import("../../oci/prepare-boot.ts");
    await using repository = await context.openRepository({ write: !dryRun });
    const prepared = await prepareBoot(repository, image, {
      bootDirectory: text("bootdir") ?? "/boot",
      entryId: text("entry-id"),
      kernelArguments: list("cmdline"),
      subdirectory: text("subdir"),
      titleFromOsRelease: flag("title-from-os-release"),
      verity,
      dryRun,
      signal,
      onProgress: progress,
    });
    if (global.json) await out.json(asJson(prepared, dryRun));
    else await out.write(asText(prepared));
  },
};

// Stable lines: key, then the value in column 10.
function asText(prepared: PreparedBoot): string {
  const lines = [
    `image    ${prepared.digest}`,
    `argument ${prepared.argument}`,
    `state    ${prepared.stateDirectory}`,
    ...files(prepared).map(({ result, path }) => `${result.padEnd(8)} ${path}`),
    `${prepared.boots === "uki" ? "uki" : "entry"}      `.slice(0, 9) + prepared.entry,
  ];
  return `${lines.join("\n")}\n`;
}

function asJson(prepared: PreparedBoot, dryRun: boolean): object {
  return {
    image: prepared.digest,
    format: prepared.version,
    argument: prepared.argument,
    boots: prepared.boots,
    entry: prepared.entry,
    state: prepared.stateDirectory,
    dry_run: dryRun,
    files: files(prepared),
  };
}

interface WrittenFile {
  path: string;
  result: string;
  size?: number;
  sha256?: string;
  text?: string;
}

function files({ steps, results }: PreparedBoot): WrittenFile[] {
  return steps.flatMap((step, index) => {
    if (step.do !== "copy" && step.do !== "write") return [];
    const done = results[index];
    return [
      {
        path: step.path,
        result: done?.result ?? (step.do === "copy" ? "copy" : "write"),
        ...(done?.size === undefined ? {} : { size: done.size }),
        ...(done?.sha256 === undefined ? {} : { sha256: done.sha256 }),
        ...(step.do === "write" ? { text: step.text } : {}),
      },
    ];
  });
}
