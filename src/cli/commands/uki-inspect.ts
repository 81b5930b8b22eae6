// `composefs uki inspect FILE`: what a unified kernel image or an addon says

import type { UkiInspection } from "../../index.ts";
import type { Command } from "../command.ts";
import { formatSize } from "../size.ts";
import { formatTable } from "../table.ts";

export const ukiInspect: Command = {
  name: "uki inspect",
  summary: "show what a unified kernel image says",
  description:
    "Sections, label, command line, the images that it names, and the boot digest (SHA-256 over kernel and initramfs). " +
    "Also for addons. Nothing is verified but that the sections lie inside the file.",
  arguments: [{ name: "FILE", description: "the UKI or addon", completes: "file" }],
  options: [],
  examples: [
    { line: "uki inspect /efi/EFI/Linux/os.efi", says: "for people" },
    { line: "uki inspect --json os.efi | jq -r '.composefs[0].digest'", says: "the image that it boots" },
  ],
  async run({ args, global, out, signal }) {
    const [path = ""] = args;
    const { openFileSource } = await import("../../boot/file-source.ts");
    const { PeFile } = await import("../../boot/pe/read.ts");
    const { inspectUki } = await import("../../boot/uki/inspect.ts");
    using file = openFileSource(path);
    const found = await inspectUki(PeFile.read(file, path), file, signal);
    if (global.json) await out.json(asJson(path, found));
    else await out.write(asText(found));
  },
};

function asJson(path: string, found: UkiInspection): object {
  return {
    path,
    kind: found.kind,
    size: found.size,
    architecture: found.architecture ?? null,
    signed: found.signed,
    label: found.label ?? null,
    kernel_version: found.kernelVersion ?? null,
    command_line: found.commandLine ?? null,
    composefs: found.composefs,
    problem: found.problem ?? null,
    boot_digest: found.bootDigest ?? null,
    sections: found.sections.map((section) => ({ ...section, sha256: section.sha256 ?? null })),
  };
}

function asText(found: UkiInspection): string {
  const lines: [string, string | undefined][] = [
    ["kind", `${found.kind}${found.architecture === undefined ? "" : ` for ${found.architecture}`}`],
    ["signed", found.signed ? "yes" : "no"],
    ["label", found.label],
    ["kernel", found.kernelVersion],
    ["cmdline", found.commandLine === undefined ? undefined : shown(found.commandLine)],
    ...found.composefs.map(({ digest, insecure }): [string, string] => [
      "image",
      `${digest}${insecure ? " (without fs-verity too)" : ""}`,
    ]),
    ["problem", found.problem],
    ["boot", found.bootDigest === undefined ? undefined : `sha256:${found.bootDigest}`],
  ];
  const text = lines.flatMap(([key, value]) => (value === undefined ? [] : [`${key.padEnd(8)} ${value}\n`]));
  const rows = found.sections.map(({ name, size, sha256 }) => [name, formatSize(size), sha256?.slice(0, 12) ?? ""]);
  return `${text.join("")}\n${formatTable(["SECTION", "SIZE", "SHA256"], rows, false)}`;
}

/** Command lines come from the file: control characters are shown, not sent to the terminal. */
function shown(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this escapes
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
