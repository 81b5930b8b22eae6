// `composefs init [PATH]` (docs/spec/repository.md, section 4)

import { createInterface } from "node:readline/promises";
import type { InitOptions, ResetPlan, ResetResult } from "../../index.ts";
import type { Command, Context } from "../command.ts";
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
    {
      name: "reset-metadata",
      description:
        "forget all streams, images and tags and begin anew; objects stay. Without --algorithm the repository keeps its own",
    },
    { name: "yes", description: "with --reset-metadata: do not ask" },
  ],
  examples: [
    { line: "init --insecure ./repository", says: "on any file system" },
    { line: "init --reset-metadata --yes ./repository", says: "begin anew with the objects that are there" },
    { line: "init --algorithm fsverity-sha256-12 /srv/images", says: "with SHA-256, on a file system with fs-verity" },
  ],
  async run(context) {
    const { args, global, flag, text, out, note } = context;
    const [given] = args;
    const reset = flag("reset-metadata");
    if (reset && flag("ensure")) throw new UsageError("init: --ensure and --reset-metadata exclude each other");
    if (flag("yes") && !reset) throw new UsageError("init: --yes is for --reset-metadata");
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
    const options = {
      ...(algorithm === undefined ? {} : { algorithm }),
      ...(global.erofsVersion === undefined ? {} : { erofsVersion: global.erofsVersion }),
      insecure: flag("insecure"),
    };
    const result = reset
      ? await resetAndTell(context, path, options)
      : await initRepository(path, { ...options, ensure: flag("ensure") });
    if (result.state === "declined") {
      note("nothing was changed");
      return 1;
    }
    if (result.state !== "created" && result.state !== "reset" && flag("insecure") === result.secure) {
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
        ...("plan" in result && result.plan !== undefined ? { removed: removedPaths(result.plan) } : {}),
      });
      return undefined;
    }
    switch (result.state) {
      case "created":
      case "reset":
        await out.line(`Initialized composefs repository at ${path}`);
        await out.line(`  algorithm: ${algorithmName(result.algorithm)}`);
        await out.line(`  verity:    ${result.secure ? "required" : "not required (insecure)"}`);
        return undefined;
      case "upgraded":
        await out.line(`Upgraded legacy repository at ${path}`);
        return undefined;
      case "preserved":
        await out.line(`Repository already initialized at ${path} (existing configuration preserved)`);
        return undefined;
      default:
        await out.line(`Repository already initialized at ${path}`);
        return undefined;
    }
  },
};

async function resetAndTell(context: Context, path: string, options: InitOptions): Promise<ResetResult> {
  const { flag, note, lock, signal } = context;
  const { resetMetadata } = await import("../../repository/reset.ts");
  return resetMetadata(path, { ...options, lock: lock(path), confirm });

  async function confirm(plan: ResetPlan): Promise<boolean> {
    const asking = !flag("yes") && process.stdin.isTTY && process.stderr.isTTY;
    if (flag("yes")) for (const line of describePlan(plan)) note(line);
    // Whoever is to answer must see it, also with --quiet.
    else
      process.stderr.write(
        describePlan(plan)
          .map((line) => `${line}\n`)
          .join(""),
      );
    if (flag("yes")) return true;
    if (!asking) {
      throw new UsageError(`init: --reset-metadata needs --yes where nobody can be asked; nothing was changed`);
    }
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return /^(?:y|yes)$/i.test((await terminal.question("Go on? [y/N] ", { signal })).trim());
    } finally {
      terminal.close();
    }
  }
}

/** Names that are listed; of more only the number is told. */
const SHOWN = 10;

function describePlan({ path, before, after, streams, images, objects, foreign }: ResetPlan): string[] {
  const tags = streams.filter((name) => name.startsWith("refs/"));
  const named = images.filter((name) => name.startsWith("refs/"));
  const refs = [...tags.map((name) => `streams/${name}`), ...named.map((name) => `images/${name}`)];
  return [
    `this removes from ${path}:`,
    `  ${streams.length - tags.length} streams, ${images.length - named.length} images, ${refs.length} names`,
    ...refs.slice(0, SHOWN).map((name) => `    ${name}`),
    ...(refs.length > SHOWN ? [`    and ${refs.length - SHOWN} more`] : []),
    ...(objects.length > 0 ? [`  ${objects.length} objects, which ${after.algorithm} cannot name`] : []),
    ...(before === undefined
      ? []
      : [`  its configuration (${before.algorithm}); the new one is for ${after.algorithm}`]),
    ...foreign.map((name) => `  left alone, it is not the repository's: ${name}`),
  ];
}

function removedPaths({ streams, images, objects }: ResetPlan): string[] {
  return [...streams.map((name) => `streams/${name}`), ...images.map((name) => `images/${name}`), ...objects];
}
