// `composefs deploy status` (docs/spec/deployments.md, section 4.9)

import type { JsonValue } from "../../index.ts";
import type { Command } from "../command.ts";
import { SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";

export const deployStatus: Command = {
  name: "deploy status",
  summary: "show the deployments of a sysroot: what it boots, and what else it could boot",
  description:
    "Reads boot entries, origin files and the repository of the running system, or with --sysroot those of another one: a directory or a " +
    "mounted disk. Writes nothing and needs no network. What is damaged in one deployment is a warning on stderr and hides none of the " +
    "others. The document is the one of bootc, org.containers.bootc/v1; it is empty on a machine that was not booted from a deployment. " +
    "With --verbose also signature, soft reboot and fs-verity.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS.map((option) =>
      option.name === "booted"
        ? { ...option, optionalValue: true, description: `without a value: show no other; ${option.description}` }
        : option,
    ),
    {
      name: "format",
      value: "FORMAT",
      choices: ["humanreadable", "json", "yaml"],
      description: "humanreadable on a terminal, else json, when left out",
    },
  ],
  examples: [
    { line: "deploy status", says: "what this machine runs" },
    { line: "deploy status --booted --format yaml", says: "the deployment that runs, nothing else" },
    { line: "deploy status --sysroot /mnt --format humanreadable", says: "for people" },
    { line: "deploy status --sysroot ./root --bootloader systemd --esp ./esp --json", says: "for scripts" },
  ],
  async run({ global, text, flag, out, note, signal, lock }) {
    const { findSysroot } = await import("../../deploy/location.ts");
    const location = findSysroot(sysrootPaths({ global, text, flag }));
    const { readSysroot } = await import("../../deploy/sysroot.ts");
    const { hostStatus, onlyBooted } = await import("../../deploy/host.ts");
    const { warningText } = await import("../../deploy/warning-text.ts");
    const { host: all, warnings } = hostStatus(
      location && (await readSysroot(location, { signal, lock: lock(location.repository) })),
    );
    for (const warning of warnings) note(`warning: ${warningText(warning)}`);
    const host = flag("booted") && text("booted") === undefined ? onlyBooted(all) : all;
    const format = global.json ? "json" : (text("format") ?? (out.isTerminal ? "humanreadable" : "json"));
    if (format === "yaml") {
      const { yamlText } = await import("../../deploy/yaml.ts");
      return out.write(yamlText(host as unknown as JsonValue));
    }
    if (format === "json") {
      const { canonicalJson } = await import("../../deploy/canonical-json.ts");
      return out.line(canonicalJson(host as unknown as JsonValue));
    }
    const { hostText } = await import("../../deploy/host-text.ts");
    return out.write(hostText(host, { verbose: global.verbose }));
  },
};
