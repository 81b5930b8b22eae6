// Directories that are made for real, random ones and /usr of this machine: our ids, dumps, images and stores are cfsctl's.
// What the kernel lets only root make is left out for others. COMPOSEFS_PEERS_SEED repeats a run, COMPOSEFS_PEERS_TREES says how many.

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Directory,
  dumpTree,
  imageId,
  reduceMetadata,
  scanDirectory,
  storingWork,
  writeImage,
} from "../../src/index.ts";
import { directoryTree } from "../../src/tree/directory-tree.ts";
import { composefsOutput } from "../fixtures/composefs.ts";
import { makeDirectory } from "../fixtures/directory.ts";
import { randomDirectory } from "../fixtures/random-directory.ts";
import { describeWithPeers, peerOutput, runPeer } from "../peer.ts";

const first = Number(process.env["COMPOSEFS_PEERS_SEED"] ?? 1);
const trees = Number(process.env["COMPOSEFS_PEERS_TREES"] ?? 200);
const ALGORITHMS = ["sha256", "sha512"] as const;
const VERSIONS = [0, 1, 2] as const;
const WAYS = [
  { words: [], containerRoot: true, xattrMode: "allowlist-only" },
  { words: ["--xattrs", "keep-user-xattrs"], containerRoot: true, xattrMode: "keep-user-xattrs" },
  { words: ["--no-propagate-usr-to-root"], containerRoot: false, xattrMode: "allowlist-only" },
] as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "composefs-directory-"));
});
afterAll(() => {
  remove(folder);
});

function remove(path: string): void {
  if (process.getuid?.() !== 0) execFileSync("chmod", ["-R", "u+rwx", path]);
  rmSync(path, { recursive: true, force: true });
}

function bytesOf(root: Directory, version: 0 | 1): Buffer {
  const chunks: Buffer[] = [];
  writeImage(root, { version, algorithm: "sha256", dialect: "rs" }, (chunk) => chunks.push(Buffer.from(chunk)));
  return Buffer.concat(chunks);
}

describeWithPeers(["cfsctl"], "directories", () => {
  it(`${trees} random ones from seed ${first}`, { timeout: 1_800_000 }, async () => {
    for (let seed = first; seed < first + trees; seed++) {
      const directory = join(folder, `tree-${seed}`);
      mkdirSync(directory);
      makeDirectory(directory, randomDirectory(seed, 12 + (seed % 50)));
      await compareIds(directory, seed);
      await compareImages(directory, seed);
      remove(directory);
    }
  });

  async function compareIds(directory: string, seed: number) {
    const way = WAYS[seed % WAYS.length] as (typeof WAYS)[number];
    for (const algorithm of ALGORITHMS) {
      const { root } = await directoryTree(directory, { ...way, algorithms: [algorithm] });
      const words = ["--no-repo", "--hash", algorithm];
      const told = `seed ${seed}, ${algorithm}, ${way.words.join(" ")}`;
      expect([...dumpTree(root)].join(""), told).toBe(
        peerOutput("cfsctl", [...words, "create-dumpfile", ...way.words, directory]),
      );
      for (const version of VERSIONS) {
        const theirs = peerOutput("cfsctl", [
          ...words,
          "--erofs-version",
          `${version}`,
          "compute-id",
          ...way.words,
          directory,
        ]);
        expect(imageId(root, { version, algorithm, dialect: "rs" }).id, `${told}, version ${version}`).toBe(
          theirs.trim(),
        );
      }
    }
  }

  async function compareImages(directory: string, seed: number) {
    const options = [
      [],
      ["--use-epoch"],
      ["--skip-xattrs"],
      ["--user-xattrs"],
      ["--skip-devices"],
      ["--min-version=1", "--hardlinks"],
    ][seed % 6] as string[];
    const image = join(folder, "theirs.img");
    const theirStore = join(folder, `their-store-${seed}`);
    const ourStore = join(folder, `our-store-${seed}`);
    for (const store of [theirStore, ourStore]) mkdirSync(store);
    const theirs = runPeer("cfsctl", ["mkcomposefs", ...options, `--digest-store=${theirStore}`, directory, image]);
    const { root } = await scanDirectory(directory, {
      algorithms: ["sha256"],
      work: storingWork({ path: ourStore, objects: ourStore, algorithm: "sha256", secure: false }),
    });
    reduceMetadata(root, {
      epoch: options.includes("--use-epoch"),
      devices: !options.includes("--skip-devices"),
      xattrs: options.includes("--skip-xattrs") ? "none" : options.includes("--user-xattrs") ? "user" : "all",
      hardLinks: options.includes("--hardlinks"),
    });
    expect(theirs.status, `seed ${seed}: ${theirs.stderr}`).toBe(0);
    const ours = bytesOf(root, options.includes("--hardlinks") ? 1 : 0);
    expect(ours.equals(readFileSync(image)), `seed ${seed}, ${options.join(" ")}`).toBe(true);
    execFileSync("diff", ["-r", theirStore, ourStore]);
    for (const path of [theirStore, ourStore, image]) rmSync(path, { recursive: true });
  }

  it("of this machine, and an image of one in a repository", { timeout: 600_000 }, () => {
    const usr = ["/usr/lib/python3", "/usr/share/perl5", "/usr/share/doc", "/usr/include"].find(
      (path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true,
    );
    const directory = join(folder, "machine");
    mkdirSync(join(directory, "usr"), { recursive: true });
    chmodSync(directory, 0o750);
    writeFileSync(join(directory, "etc-like"), "x".repeat(70));
    execFileSync("cp", ["-a", usr ?? "/usr/share", join(directory, "usr/copy")]);
    const [ours = "", theirs = ""] = ["ours", "theirs"].map((name) => join(folder, name));
    for (const repo of [ours, theirs])
      composefsOutput(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repo]);
    for (const version of VERSIONS) {
      const words = ["--erofs-version", `${version}`, "create-image", directory, `of/v${version}`];
      const printed = composefsOutput(["--repo", ours, "--quiet", ...words]);
      expect(printed).toBe(peerOutput("cfsctl", ["--repo", theirs, ...words]));
    }
    execFileSync("diff", ["-r", "--no-dereference", join(theirs, "images"), join(ours, "images")]);
    const objects = (repo: string) => readdirSync(join(repo, "objects"), { recursive: true }).map(String).sort();
    expect(objects(ours)).toEqual(objects(theirs));
    expect(JSON.parse(peerOutput("cfsctl", ["--repo", ours, "fsck", "--json"]))).toMatchObject({ ok: true });
  });
});
