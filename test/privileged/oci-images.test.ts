// Every image that a pull makes of the golden layouts and of a Debian root mounts, and a walk of the mount is the recorded
// tree, content included.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefs, composefsBytes, composefsOutput } from "../fixtures/composefs.ts";
import { debianLayout } from "../fixtures/debian.ts";
import { parseDump } from "../fixtures/dump.ts";
import { goldensDir } from "../goldens-dir.ts";
import { describeWithPeers, findPeer, peerBytes } from "../peer.ts";
import { leftovers, missingPrivilege, mountImage } from "./mounts.ts";
import { describeMounts } from "./privileges.ts";
import { dumpLines, mountLines } from "./tree-lines.ts";

interface GoldenImage {
  name: string;
  layout: string;
  tag: string;
  is_container: boolean;
  image_ids?: { sha256: { v1: string; v2: string } };
}

function objectFile(repository: string, id: string): string {
  return join(repository, "objects", id.slice(0, 2), id.slice(2));
}

function initRepository(path: string, algorithm: "sha256" | "sha512", version: 1 | 2): void {
  composefsOutput([
    "init",
    "--insecure",
    "--algorithm",
    `fsverity-${algorithm}-12`,
    "--erofs-version",
    String(version),
    path,
  ]);
}

/** The id of the tag's image in the repository's default format. */
function imageId(repository: string, tag: string): string {
  const { composefs_erofs: id } = JSON.parse(composefsOutput(["--repo", repository, "oci", "inspect", tag])) as {
    composefs_erofs: string;
  };
  return id;
}

describeMounts("images of the golden OCI layouts", () => {
  const goldens = goldensDir("oci");
  const { images } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as { images: GoldenImage[] };
  const containers = images.filter((image) => image.is_container && image.image_ids);
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-privileged-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    expect(leftovers()).toEqual([]);
  });

  it("there are some", () => {
    expect(containers.length).toBeGreaterThan(0);
  });

  describe.each(containers)("$name:$tag", (image) => {
    it.each([1, 2] as const)("format V%i", (version) => {
      const work = mkdtempSync(join(folder, "image-"));
      mkdirSync(join(work, "layout"));
      execFileSync("tar", ["-xf", join(goldens, image.layout), "-C", join(work, "layout")]);
      const repository = join(work, "repository");
      initRepository(repository, "sha256", version);
      const pulled = composefs([
        "--repo",
        repository,
        "oci",
        "pull",
        `oci:${join(work, "layout")}:${image.tag}`,
        "golden",
      ]);
      expect(pulled, pulled.stderr).toMatchObject({ status: 0 });
      const id = imageId(repository, "golden");
      expect(id).toBe(image.image_ids?.sha256[`v${version}`]);
      const dump = parseDump(readFileSync(join(goldens, image.name, "dump.sha256.txt")));
      using mounted = mountImage(objectFile(repository, id), join(repository, "objects"));
      expect(mountLines(mounted.root, "sha256")).toEqual(dumpLines(dump, version, "sha256"));
    });
  });
});

describeWithPeers(["mmdebstrap", "zstd"], "the image of a Debian root", () => {
  describeMounts("mounted", () => {
    const folder = mkdtempSync(join(tmpdir(), "composefs-privileged-"));
    afterAll(() => {
      rmSync(folder, { recursive: true, force: true });
      expect(leftovers()).toEqual([]);
    });

    it.each([
      ["sha512", 1],
      ["sha256", 2],
    ] as const)("%s, format V%i", (algorithm, version) => {
      const repository = join(folder, algorithm);
      initRepository(repository, algorithm, version);
      composefsOutput(["--repo", repository, "oci", "pull", debianLayout().reference, "debian"]);
      const id = imageId(repository, "debian");
      // The tree comes from cfsctl where it is there: then nothing of ours judges itself.
      const dump =
        findPeer("cfsctl") === undefined
          ? composefsBytes(["--repo", repository, "oci", "dump", "debian"])
          : peerBytes("cfsctl", ["--repo", repository, "oci", "dump", "debian"]);
      using mounted = mountImage(objectFile(repository, id), join(repository, "objects"));
      const lines = mountLines(mounted.root, algorithm);
      expect(lines).toEqual(dumpLines(parseDump(dump), version, algorithm));
      expect(lines.length).toBeGreaterThan(5_000);
      // A program of the image runs from the mount.
      expect(statSync(join(mounted.root, "usr/bin/bash")).mode & 0o111).toBe(0o111);
      const version2 = execFileSync("chroot", [mounted.root, "/usr/bin/bash", "--version"], { encoding: "utf8" });
      expect(version2).toMatch(/GNU bash/);
    });
  });
});

describe("the privileged suite", () => {
  it("knows whether it can mount", () => {
    const missing = missingPrivilege();
    if (missing === undefined) expect(process.getuid?.()).toBe(0);
    else expect(missing).toMatch(/needs|no .* file system|not allowed/);
  });
});
