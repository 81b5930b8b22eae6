// Real trees as directories (docs/spec/tree.md, sections 3 and 4): the whole of /usr of this machine, and a Debian root with odd
// files added. Our commands and cfsctl's say and write the same for every version, hash and set of options; for /usr, which
// takes the peer ten seconds each time, for each of them once.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { composefsBytes, composefsOutput } from "../fixtures/composefs.ts";
import { debianLayout } from "../fixtures/debian.ts";
import { describeWithPeers, peer, peerBytes, peerOutput } from "../peer.ts";

const ALGORITHMS = ["sha256", "sha512"] as const;
const VERSIONS = ["0", "1", "2"];
const WAYS = [[], ["--xattrs", "keep-user-xattrs"], ["--no-propagate-usr-to-root"]];
const MKCOMPOSEFS = [
  [],
  ["--use-epoch"],
  ["--skip-xattrs"],
  ["--user-xattrs"],
  ["--skip-devices"],
  ["--hardlinks"],
  ["--min-version=1"],
  ["--min-version=1", "--hardlinks", "--use-epoch", "--skip-devices", "--user-xattrs"],
];
const MKCOMPOSEFS_PROGRAM = fileURLToPath(new URL("../../dist/cli/mkcomposefs.js", import.meta.url));
const isRoot = process.getuid?.() === 0;

const mkcomposefs = (...words: string[]) =>
  execFileSync(process.execPath, [MKCOMPOSEFS_PROGRAM, ...words], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
const variant = (algorithm: string, version: string) => ["--no-repo", "--hash", algorithm, "--erofs-version", version];

describeWithPeers(["cfsctl", "mmdebstrap", "zstd"], "a Debian root as a directory", () => {
  let folder: string;
  let root: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-debian-directory-"));
    root = join(folder, "root");
    mkdirSync(root);
    const layout = debianLayout().reference.split(":")[1] ?? "";
    const read = (digest: string): unknown =>
      JSON.parse(readFileSync(join(layout, "blobs", digest.replace(":", "/")), "utf8"));
    const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as { manifests: { digest: string }[] };
    const { layers } = read(index.manifests[0]?.digest ?? "") as { layers: { digest: string; mediaType: string }[] };
    // The third layer replaces files by directories, which tar does not.
    for (const { digest, mediaType } of layers.slice(0, 2)) {
      const archive = join(layout, "blobs", digest.replace(":", "/"));
      const words = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", archive, "-C", root];
      execFileSync("tar", [mediaType.endsWith("zstd") ? "--zstd" : "--gzip", ...words]);
    }
  });
  afterAll(() => {
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  it.each(ALGORITHMS)("has the dumps and ids of cfsctl, %s", (algorithm) => {
    for (const way of WAYS) {
      const dump = ["--no-repo", "--hash", algorithm, "create-dumpfile", ...way, root];
      const theirs = peerBytes("cfsctl", dump);
      expect(theirs.length, way.join(" ")).toBeGreaterThan(500_000);
      expect(composefsBytes(["--quiet", ...dump]).equals(theirs), way.join(" ")).toBe(true);
      const variants = composefsOutput(["--quiet", "--no-repo", "compute-id", "--all-variants", ...way, root]);
      for (const version of VERSIONS) {
        const words = [...variant(algorithm, version), "compute-id", ...way, root];
        const id = peerOutput("cfsctl", words);
        expect(variants, words.join(" ")).toContain(`${algorithm} v${version} ${id}`);
        if (version === "1") expect(composefsOutput(["--quiet", ...words]), words.join(" ")).toBe(id);
      }
    }
  });

  it.each(ALGORITHMS)("makes the images and objects of cfsctl, %s", (algorithm) => {
    const [ours, theirs] = ["ours", "theirs"].map((name) => join(folder, `${name}-${algorithm}`)) as [string, string];
    for (const repo of [ours, theirs])
      composefsOutput(["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, repo]);
    WAYS.forEach((way, i) => {
      for (const version of VERSIONS) {
        const words = ["--erofs-version", version, "create-image", ...way, root, `of/way-${i}-v${version}`];
        const printed = composefsOutput(["--repo", ours, "--quiet", ...words]);
        expect(printed, words.join(" ")).toBe(peerOutput("cfsctl", ["--repo", theirs, ...words]));
      }
    });
    // Images are objects, too.
    for (const part of ["images", "objects"])
      execFileSync("diff", ["-r", "--no-dereference", join(theirs, part), join(ours, part)]);
    expect(readdirSync(join(ours, "images", "refs", "of"))).toHaveLength(WAYS.length * VERSIONS.length);
    expect(JSON.parse(peerOutput("cfsctl", ["--repo", ours, "fsck", "--json"]))).toMatchObject({ ok: true });
    for (const repo of [ours, theirs]) rmSync(repo, { recursive: true });
  });

  it("has the images and stores of cfsctl mkcomposefs", () => {
    const [ourStore, theirStore] = ["our-store", "their-store"].map((name) => join(folder, name)) as [string, string];
    for (const store of [ourStore, theirStore]) mkdirSync(store);
    const [ours, theirs] = ["ours.img", "theirs.img"].map((name) => join(folder, name)) as [string, string];
    for (const options of MKCOMPOSEFS) {
      const words = [...options, "--print-digest", root];
      const printed = mkcomposefs(`--digest-store=${ourStore}`, ...words, ours);
      const peers = peerOutput("cfsctl", ["mkcomposefs", `--digest-store=${theirStore}`, ...words, theirs]);
      expect(printed, options.join(" ")).toBe(peers);
      expect(readFileSync(ours).equals(readFileSync(theirs)), options.join(" ")).toBe(true);
    }
    expect(mkcomposefs("--print-digest-only", root)).toBe(
      peerOutput("cfsctl", ["mkcomposefs", "--print-digest-only", root]),
    );
    execFileSync("diff", ["-r", theirStore, ourStore]);
  });
});

describeWithPeers(["cfsctl", "mount"], "/usr of this machine", () => {
  if (!isRoot) {
    it.skip("skipped: not every file of /usr can be read, nor be mounted elsewhere: run the suite with sudo", () => {});
    return;
  }
  /** What cfsctl reads in ten seconds. */
  const LIMIT = 6e9;
  let folder: string;
  const mounted: string[] = [];
  const bind = (source: string, target: string) => {
    mkdirSync(target, { recursive: true });
    execFileSync(peer("mount"), ["--bind", source, target]);
    mounted.push(target);
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-usr-"));
    const sizes = execFileSync("du", ["-xb", "--max-depth=1", "/usr"], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map((line) => line.split("\t") as [string, string])
      .map(([size, path]) => ({ size: Number(size), path }))
      .sort((a, b) => b.size - a.size);
    let room = LIMIT;
    for (const { size, path } of sizes) {
      if (size > room) {
        console.log(`left out, as it has ${Math.round(size / 1e6)} MB: ${path}`);
        continue;
      }
      // /usr itself is the largest, and then its parts are there already.
      bind(path, join(folder, path));
      if (path === "/usr") break;
      room -= size;
    }
  }, 120_000);
  afterAll(() => {
    for (const target of mounted) execFileSync("umount", [target]);
    // Nothing that is still mounted must be removed.
    if (folder) execFileSync("find", [folder, "-xdev", "-type", "d", "-empty", "-delete"]);
  });

  it("has the ids and the dump of cfsctl", { timeout: 900_000 }, () => {
    const ours = composefsOutput(["--quiet", "--no-repo", "compute-id", "--all-variants", folder]);
    for (const [algorithm, version] of [
      ["sha256", "0"],
      ["sha256", "1"],
      ["sha512", "2"],
    ] as const) {
      const id = peerOutput("cfsctl", [...variant(algorithm, version), "compute-id", folder]);
      expect(ours).toContain(`${algorithm} v${version} ${id}`);
    }
    const dump = ["--no-repo", "--hash", "sha256", "create-dumpfile", "--no-propagate-usr-to-root", folder];
    const theirs = peerBytes("cfsctl", dump);
    expect(theirs.length).toBeGreaterThan(1_000_000);
    expect(composefsBytes(["--quiet", ...dump]).equals(theirs)).toBe(true);
  });

  it("has the image of cfsctl mkcomposefs", { timeout: 600_000 }, () => {
    const words = ["--min-version=1", "--hardlinks", "--print-digest-only", folder];
    expect(mkcomposefs(...words)).toBe(peerOutput("cfsctl", ["mkcomposefs", ...words]));
  });
});
