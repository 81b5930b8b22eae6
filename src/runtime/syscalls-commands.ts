// System calls without koffi: the commands `flock` (util-linux), `fsverity` (fsverity-utils) and `sync` (coreutils) as
// children (docs/spec/repository.md, section 6.2). Milliseconds each instead of microseconds, with the same results.

import { createRequire } from "node:module";
import type { Algorithm } from "../bytes/algorithm.ts";
import { isObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import type { LockKind, RawCalls } from "./syscalls.ts";

let childProcess: typeof import("node:child_process") | undefined;

const LOCK_OPTION = { shared: "-s", exclusive: "-x", unlock: "-u" };

/** The exit status that `flock` is told to use for "held by another": distinct from its own errors. */
const HELD = 98;

/** The calls through commands. A command that is missing is reported at its first use. */
export function commandCalls(): RawCalls {
  return {
    provider: "commands",

    tryLock(fd: number, kind: LockKind | "unlock"): boolean {
      // The lock belongs to the open file description, which the child inherits as its descriptor 3.
      const run = spawn("flock", [LOCK_OPTION[kind], "-n", "-E", String(HELD), "3"], fd);
      if (run.status === 0) return true;
      if (run.status === HELD) return false;
      throw failed("flock", run, "taking a lock");
    },

    enableVerity(_fd: number, path: string, algorithm: Algorithm) {
      const run = spawn("fsverity", ["enable", `--hash-alg=${algorithm}`, "--block-size=4096", path]);
      if (run.status === 0) return "enabled";
      if (/File exists/.test(run.stderr)) return "already";
      if (/Text file busy/.test(run.stderr)) return "busy";
      if (isUnsupported(run.stderr)) return "unsupported";
      throw failed("fsverity", run, `enabling fs-verity on ${path}`);
    },

    measureVerity(_fd: number, path: string) {
      const run = spawn("fsverity", ["measure", path]);
      if (run.status === 0) {
        const [, algorithm, digest = ""] = /^(sha256|sha512):([0-9a-f]+)/.exec(run.stdout) ?? [];
        if ((algorithm === "sha256" || algorithm === "sha512") && isObjectId(digest, algorithm))
          return { algorithm, digest };
        return "foreign";
      }
      if (/No data available/.test(run.stderr)) return undefined;
      if (isUnsupported(run.stderr)) return "unsupported";
      throw failed("fsverity", run, `measuring fs-verity of ${path}`);
    },

    cloneFile(): boolean {
      return false;
    },

    exchange(a: string, b: string): true | undefined {
      // coreutils 9.5 and newer; an older one does not know the option and does nothing.
      const run = spawn("mv", ["--exchange", "--no-copy", "-T", a, b]);
      if (run.status === 0) return true;
      if (/unrecognized option|Invalid argument|not supported|not implemented|cross-device/.test(run.stderr))
        return undefined;
      throw failed("mv", run, `exchanging ${a} and ${b}`);
    },

    syncfs(_fd: number, path: string): void {
      const run = spawn("sync", ["-f", path]);
      if (run.status !== 0) throw failed("sync", run, `syncing the file system of ${path}`);
    },
  };
}

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

const PACKAGES: Record<string, string> = {
  flock: "util-linux",
  fsverity: "fsverity-utils",
  mv: "coreutils",
  sync: "coreutils",
};

function spawn(command: string, args: string[], fd?: number): Run {
  // Loaded at the first use, which never comes where koffi is: it takes 5 ms.
  childProcess ??= createRequire(import.meta.url)("node:child_process") as typeof import("node:child_process");
  const run = childProcess.spawnSync(command, args, {
    stdio: fd === undefined ? ["ignore", "pipe", "pipe"] : ["ignore", "pipe", "pipe", fd],
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  // Deno gives an empty result when the descriptor is not open.
  if (run.error || run.output === undefined)
    throw new ComposefsError("unsupported", `the command \`${command}\` cannot be run`, {
      cause: run.error ?? "a descriptor that is not open",
      hint: `install the npm package koffi, or ${PACKAGES[command]}`,
    });
  return run;
}

function isUnsupported(stderr: string): boolean {
  return /Inappropriate ioctl|not supported/.test(stderr);
}

function failed(command: string, run: Run, action: string): ComposefsError {
  if (/Package not installed/.test(run.stderr)) return systemError({ code: "ENOPKG" }, action);
  const reason = run.stderr.trim().split("\n").at(-1) || `exit status ${run.status}`;
  return new ComposefsError("io", `${action}: \`${command}\`: ${reason}`);
}
