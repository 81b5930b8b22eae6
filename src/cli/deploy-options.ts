// The options with which every `deploy` command says which sysroot it is about (docs/spec/deployments.md, section 3.3).

import type { OpenSysroot, SysrootPaths } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";

/** Where the sysroot and what belongs to it lie. */
export const SYSROOT_OPTIONS: readonly OptionSpec[] = [
  {
    name: "sysroot",
    aliases: ["root"],
    value: "DIR",
    description:
      "the physical root, which holds composefs and state; /sysroot when left out, that of the running system (also --root)",
    completes: "directory",
  },
  { name: "offline", description: "the sysroot is that of no running system: look at nothing of this machine" },
  {
    name: "boot",
    value: "DIR",
    description: "the directory that holds loader; boot in the sysroot for grub, else the ESP, when left out",
    completes: "directory",
  },
  {
    name: "esp",
    value: "DIR",
    description: "where the ESP is mounted; found among the mounts for the running system",
    completes: "directory",
  },
  {
    name: "bootloader",
    value: "NAME",
    choices: ["grub", "grub-cc", "systemd"],
    description: "told from what is there when left out; for the running system from what its firmware says",
  },
  {
    name: "run-dir",
    value: "DIR",
    description:
      "where the staged deployment file lies; /run of the running system, offline none is read when left out",
    completes: "directory",
  },
  {
    name: "booted",
    value: "ID|none",
    description: "the deployment that runs, when it cannot be told; none means --offline",
    completes: "deployment",
  },
  {
    name: "proc-cmdline",
    value: "FILE",
    description: "read in place of /proc/cmdline; offline only together with --mountinfo",
    completes: "file",
  },
  {
    name: "mountinfo",
    value: "FILE",
    description: "read in place of /proc/self/mountinfo; offline only together with --proc-cmdline",
    completes: "file",
  },
  {
    name: "stateroot",
    value: "NAME",
    description: "whose var the deployments share, below state/os; default when left out",
  },
];

/** Whose `/etc` and options an update inherits; for commands that update. The value of `--base` is {@link baseOption}. */
export const BASE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "base",
    value: "ID|none",
    description: "the deployment whose /etc and kernel options are inherited; the booted one, or offline the first one",
    completes: "deployment",
  },
  {
    name: "etc",
    value: "DIR",
    description: "the current /etc; that of the running system, or offline that in the state of the base",
    completes: "directory",
  },
];

type Options = Pick<Context, "global" | "text" | "flag">;

/** What the options say. */
export function sysrootPaths({ global, text, flag }: Options): SysrootPaths {
  const booted = text("booted");
  return {
    sysroot: text("sysroot"),
    offline: flag("offline"),
    repository: global.repo,
    boot: text("boot"),
    esp: text("esp"),
    bootloader: text("bootloader") as SysrootPaths["bootloader"],
    runDirectory: text("run-dir"),
    bootedId: booted === "none" ? null : booted,
    commandLineFile: text("proc-cmdline"),
    mountInfoFile: text("mountinfo"),
    etc: text("etc"),
    stateroot: text("stateroot"),
  };
}

/** What `--base` says: an id, null for none, undefined when it is left out. */
export function baseOption({ text }: Pick<Context, "text">): string | null | undefined {
  const base = text("base");
  return base === "none" ? null : base;
}

/**
 * The sysroot that the options name, open for changes; the caller disposes it.
 *
 * @public
 */
export async function openSysroot(context: Context): Promise<OpenSysroot> {
  const { locateSysroot } = await import("../deploy/location.ts");
  const { OpenSysroot } = await import("../deploy/open-sysroot.ts");
  const location = locateSysroot(sysrootPaths(context));
  const { signal, progress, flag } = context;
  return OpenSysroot.open(location, {
    signal,
    lock: context.lock(location.sysroot),
    onProgress: progress,
    repair: !flag("dry-run") && !flag("check"),
  });
}
