// import-image and dump-files against cfsctl's, in each other's repositories, byte by byte.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { composefs, composefsOutput } from "../fixtures/composefs.ts";
import { parseDump } from "../fixtures/dump.ts";
import { imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";
import { goldensDir } from "../goldens-dir.ts";
import { describeWithPeers, peerOutput, runPeer } from "../peer.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "composefs-stored-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeWithPeers(["cfsctl"], "dump-files and import-image", () => {
  it("print the same lines for every directory and file of pulled images", { timeout: 300_000 }, () => {
    const goldens = goldensDir("oci");
    const { images } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as {
      images: { layout: string; tag: string; is_container: boolean; image_ids?: object }[];
    };
    const containers = images.filter((image) => image.is_container && image.image_ids !== undefined);
    expect(containers.length).toBeGreaterThan(0);
    for (const [index, { layout, tag }] of containers.slice(0, 3).entries()) {
      const work = join(folder, `image-${index}`);
      mkdirSync(join(work, "layout"), { recursive: true });
      execFileSync("tar", ["-xf", join(goldens, layout), "-C", join(work, "layout")]);
      const repo = join(work, "repo");
      composefsOutput(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repo]);
      composefsOutput(["--repo", repo, "oci", "pull", `oci:${join(work, "layout")}:${tag}`, "it", "--quiet"]);
      const dump = composefsOutput(["--repo", repo, "oci", "dump", "it"]);
      const paths = [...parseDump(Buffer.from(dump)).keys()].filter(
        (path) => path !== "/" && /^[\x21-\x7e]+$/.test(path),
      );
      expect(paths.length).toBeGreaterThan(3);
      const { composefs_erofs: id } = JSON.parse(composefsOutput(["--repo", repo, "oci", "inspect", "it"])) as {
        composefs_erofs: string;
      };
      const asked = [...paths, ...paths.map((path) => path.slice(1)), ...paths.map((path) => `${path}/`).slice(0, 1)];
      const ask = ["--repo", repo, "dump-files", id, ...asked];
      expect(composefsOutput(ask)).toBe(peerOutput("cfsctl", ask));
      const files = [...dump.matchAll(/^(\/[!-~]+) \d+ (?:100|120)\d+ /gm)].map(([, path = ""]) => path);
      expect(files.length).toBeGreaterThan(0);
      const backing = ["--repo", repo, "dump-files", id, "--backing-path-only", ...files];
      expect(composefsOutput(backing)).toBe(peerOutput("cfsctl", backing));
      for (const path of ["no/such", ".."])
        for (const run of [composefs, (words: string[]) => runPeer("cfsctl", words)])
          expect(run(["--repo", repo, "dump-files", id, path]).status).not.toBe(0);
    }
  });

  it.each([0, 1, 2] as const)("import the same image of format V%i as the same", (version) => {
    const image = imageOfTree(
      randomTree({ seed: version, entries: 60, algorithm: "sha512" }),
      { version, dialect: "rs" },
      "sha512",
    );
    const file = join(folder, `tree-${version}.erofs`);
    writeFileSync(file, image);
    const [ours = "", theirs = ""] = ["ours", "theirs"].map((name) => join(folder, `${name}-${version}`));
    for (const repo of [ours, theirs]) composefsOutput(["init", "--insecure", repo]);
    const printed = composefsOutput(["--repo", ours, "import-image", "some/name", "--quiet"], { input: image });
    const peer = runPeer("cfsctl", ["--repo", theirs, "import-image", "some/name"], { input: image });
    expect(printed).toBe(peer.stdout);
    const list = (repo: string) =>
      execFileSync("find", [".", "-not", "-type", "d", "-printf", "%p %l\n"], { cwd: repo, encoding: "utf8" })
        .split("\n")
        .toSorted();
    expect(list(ours)).toEqual(list(theirs));
    expect(peerOutput("cfsctl", ["--repo", ours, "images", "--json"])).toBe(
      peerOutput("cfsctl", ["--repo", theirs, "images", "--json"]),
    );
  });
});
