// `composefs init [PATH]` (docs/spec/repository.md, section 4)

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const init: Command = {
  name: "init",
  summary: "make a repository",
  description:
    "Makes the directory with mode 0700 when it is missing, and a repository in it. Without PATH: the one that --repo, " +
    "--user or --system names. The default insists on fs-verity, which ext4 (feature verity), btrfs and f2fs have; " +
    "with --insecure it works anywhere, and content is checked when it is read.",
  arguments: [{ name: "PATH", optional: true, description: "the repository", completes: "directory" }],
  options: [
    {
      name: "algorithm",
      value: "NAME",
      choices: ["fsverity-sha256-12", "fsverity-sha512-12"],
      description: "what objects are named by; fsverity-sha512-12 when left out",
    },
    { name: "insecure", description: "do not insist on fs-verity" },
    { name: "ensure", description: "take an existing repository as it is, whatever its configuration" },
  ],
  examples: [
    { line: "init --insecure ./repository", says: "on any file system" },
    { line: "init --algorithm fsverity-sha256-12 /srv/images", says: "with SHA-256, on a file system with fs-verity" },
  ],
  async run({ args, global, flag, text, out, note }) {
    const [given] = args;
    if (given !== undefined && (global.repo !== undefined || global.user || global.system)) {
      throw new UsageError("init: PATH and --repo, --user or --system exclude each other", "name the repository once");
    }
    const { algorithmName, effectiveFormats, parseAlgorithmName } = await import("../../repository/meta.ts");
    const { initRepository } = await import("../../repository/init.ts");
    const { repositoryPath } = await import("../../repository/location.ts");
    const name = text("algorithm");
    const algorithm = name === undefined ? global.hash : parseAlgorithmName(name, "usage");
    if (global.hash !== undefined && algorithm !== global.hash) {
      throw new UsageError(
        `init: --algorithm ${name} and --hash ${global.hash} contradict each other`,
        "give one of them",
      );
    }
    const repo = given ?? global.repo;
    const path = repositoryPath({
      ...(repo === undefined ? {} : { path: repo }),
      user: global.user,
      system: global.system,
    });
    const result = await initRepository(path, {
      ...(algorithm === undefined ? {} : { algorithm }),
      ...(global.erofsVersion === undefined ? {} : { erofsVersion: global.erofsVersion }),
      insecure: flag("insecure"),
      ensure: flag("ensure"),
    });
    if (result.state !== "created" && flag("insecure") === result.secure) {
      note(
        `it ${result.secure ? "requires fs-verity" : "is insecure: it does not require fs-verity"}; that cannot be changed`,
      );
    }
    if (global.json) {
      await out.json({
        path,
        state: result.state,
        algorithm: algorithmName(result.algorithm),
        secure: result.secure,
        erofs_formats: effectiveFormats(result.meta),
      });
      return;
    }
    switch (result.state) {
      case "created":
        await out.line(`Initialized composefs repository at ${path}`);
        await out.line(`  algorithm: ${algorithmName(result.algorithm)}`);
        await out.line(`  verity:    ${result.secure ? "required" : "not required (insecure)"}`);
        return;
      case "upgraded":
        await out.line(`Upgraded legacy repository at ${path}`);
        return;
      case "preserved":
        await out.line(`Repository already initialized at ${path} (existing configuration preserved)`);
        return;
      case "exists":
        await out.line(`Repository already initialized at ${path}`);
    }
  },
};
