// What this runtime and machine can do, and what helps where something is missing (docs/spec/wasm-core.md, sections 6, 7).

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { syscalls } from "./syscalls.ts";
import { zstdEncoder } from "./zstd.ts";

/** Something that works worse or not at all, and its remedy. */
export interface Shortcoming {
  what: string;
  remedy: string;
}

/** What was found; see {@link capabilities}. */
export interface Capabilities {
  runtime: "node" | "deno" | "bun";
  /** Version of the runtime. */
  version: string;
  /** How system calls that the runtime lacks are made. */
  syscalls: "koffi" | "commands";
  /** How zstd is compressed; `stored` is valid, but large. */
  zstd: "node:zlib" | "zstd-codec" | "stored";
  shortcomings: Shortcoming[];
}

const COMMANDS: [string, string, string][] = [
  ["flock", "util-linux", "locks cannot be taken, so no repository can be opened"],
  ["sync", "coreutils", "what is written cannot be made durable"],
  ["fsverity", "fsverity-utils", "fs-verity cannot be enabled or measured"],
];

/** Looks at the runtime, its optional packages and the commands that stand in for them. */
export function capabilities(): Capabilities {
  const { provider } = syscalls();
  const zstd = zstdEncoder();
  const shortcomings: Shortcoming[] = [];
  if (provider === "commands") {
    shortcomings.push({
      what: "system calls go through child processes, which is slow",
      remedy: "install the npm package koffi (on Deno also permit --allow-ffi)",
    });
    shortcomings.push({
      what: "directories cannot be made into images: their extended attributes cannot be read",
      remedy: "install the npm package koffi (on Deno also permit --allow-ffi)",
    });
    for (const [command, fromPackage, what] of COMMANDS)
      if (!onPath(command))
        shortcomings.push({ what, remedy: `install the npm package koffi, or ${fromPackage} for \`${command}\`` });
  }
  if (zstd === "stored")
    shortcomings.push({
      what: "layers are stored without compression: the repository grows by some megabytes per image",
      remedy: "use Node 22.15 or later, Deno or Bun, or install the npm package zstd-codec",
    });
  return { ...runtimeVersion(), syscalls: provider, zstd, shortcomings };
}

function runtimeVersion(): { runtime: "node" | "deno" | "bun"; version: string } {
  const { bun, deno, node } = process.versions;
  if (bun !== undefined) return { runtime: "bun", version: bun };
  return deno === undefined ? { runtime: "node", version: node } : { runtime: "deno", version: deno };
}

function onPath(command: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
