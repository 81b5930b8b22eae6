// The options with which every `deploy` command says which sysroot it is about (docs/spec/deployments.md, section 3.3).

import type { SysrootPaths } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** Where the sysroot and what belongs to it lie. */
export const SYSROOT_OPTIONS: readonly OptionSpec[] = [
  {
    name: "sysroot",
    value: "DIR",
    description: "the physical root, which holds composefs and state",
    completes: "directory",
  },
  {
    name: "boot",
    value: "DIR",
    description: "the directory that holds loader; boot in the sysroot for grub, else the ESP, when left out",
    completes: "directory",
  },
  { name: "esp", value: "DIR", description: "where the ESP is mounted", completes: "directory" },
  {
    name: "bootloader",
    value: "NAME",
    choices: ["grub", "grub-cc", "systemd"],
    description: "told from what is there when left out",
  },
];

/** What the options say. @throws UsageError without --sysroot */
export function sysrootPaths({ global, text }: Pick<Context, "global" | "text">, command: string): SysrootPaths {
  const sysroot = text("sysroot");
  if (sysroot === undefined)
    throw new UsageError(`${command} needs --sysroot`, "name the directory that holds composefs and state");
  return {
    sysroot,
    repository: global.repo,
    boot: text("boot"),
    esp: text("esp"),
    bootloader: text("bootloader") as SysrootPaths["bootloader"],
  };
}
