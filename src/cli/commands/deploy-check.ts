// `composefs deploy check` (docs/spec/deployments.md, section 4.10)

import type { CheckFinding } from "../../index.ts";
import type { Command } from "../command.ts";
import { SYSROOT_OPTIONS, sysrootPaths } from "../deploy-options.ts";

export const deployCheck: Command = {
  name: "deploy check",
  summary: "check whether every deployment of a sysroot is complete",
  description:
    "Looks at boot entries, kernels, state directories, origins, images and tags. Writes nothing and needs no network. An error keeps a " +
    "deployment from booting, or will; exit status 1 when there is one. --deep reads every layer, computes every image anew, and " +
    "checks all of the repository.",
  arguments: [],
  options: [
    ...SYSROOT_OPTIONS,
    { name: "deep", description: "read everything; takes as long as the images are large" },
  ],
  examples: [
    { line: "deploy check", says: "the running system" },
    { line: "deploy check --sysroot /mnt --deep --json", says: "a mounted disk, all of it, for scripts" },
  ],
  async run(context) {
    const { global, flag, out, signal, progress, lock } = context;
    const { locateSysroot } = await import("../../deploy/location.ts");
    const { checkSysroot } = await import("../../deploy/check/check.ts");
    const { ComposefsError } = await import("../../error.ts");
    const { displayBytes, utf8ByteString } = await import("../../bytes/byte-string.ts");
    const location = locateSysroot(sysrootPaths(context));
    const result = await checkSysroot(location, {
      deep: flag("deep"),
      signal,
      lock: lock(location.repository),
      onProgress: progress,
    });
    if (global.json) await out.json(result);
    else {
      const lines = result.findings.map((finding) => displayBytes(utf8ByteString(lineOf(finding))));
      const status = result.ok ? "ok" : `${result.errors} error(s)`;
      const more = result.warnings > 0 ? `, ${result.warnings} warning(s)` : "";
      await out.write(`${[...lines, `status: ${status}${more}`].join("\n")}\n`);
    }
    if (result.ok) return;
    throw new ComposefsError("corrupt", `the deployments of ${location.sysroot} are damaged`, {
      path: location.sysroot,
      hint: "pull what is missing again, or delete the deployments named above",
    });
  },
};

function lineOf({ level, check, id, path, message }: CheckFinding): string {
  const about = [id, path].filter((part) => part !== undefined);
  return `${level} ${check}: ${about.length > 0 ? `${about.join(", ")}: ` : ""}${message}`;
}
