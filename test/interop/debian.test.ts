// A real Debian root in three layers, both ways (docs/spec/cli-cfsctl.md): what we write passes every check of cfsctl,
// what cfsctl wrote we read, and a pull by one into the repository of the other finds everything there.

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefsBytes, composefsOutput } from "../fixtures/composefs.ts";
import { debianLayout } from "../fixtures/debian.ts";
import type { WrittenLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { describeWithPeers, peerBytes, peerOutput, runPeer } from "../peer.ts";

interface Inspected {
  manifest: string;
  config: string;
  composefs_erofs: string;
}

const lines = (text: string) => text.split("\n").filter((line) => line !== "");
const sha256 = (data: Uint8Array) => `sha256:${createHash("sha256").update(data).digest("hex")}`;
const cfsctl = (repository: string, ...args: string[]) => peerOutput("cfsctl", ["--repo", repository, ...args]);
const composefs = (repository: string, ...args: string[]) => composefsOutput(["--repo", repository, ...args]);
const inspectByUs = (repository: string) => JSON.parse(composefs(repository, "oci", "inspect", "debian")) as Inspected;
const inspectByThem = (repository: string) => JSON.parse(cfsctl(repository, "oci", "inspect", "debian")) as Inspected;
/** "N new + M already present objects" as numbers. */
function objectCounts(output: string): { created: number; present: number } {
  const found = /(\d+) new \+ (\d+) already present/.exec(output);
  if (!found) throw new Error(`no object counts in: ${output}`);
  return { created: Number(found[1]), present: Number(found[2]) };
}

describeWithPeers(["cfsctl", "mmdebstrap", "zstd"], "a Debian root", () => {
  let folder: string;
  let layout: WrittenLayout;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-debian-"));
    layout = debianLayout();
  });
  afterAll(() => {
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  describe.each(["sha512", "sha256"] as const)("%s", (algorithm) => {
    let ours: string;
    let theirs: string;
    beforeAll(() => {
      ours = join(folder, `ours-${algorithm}`);
      theirs = join(folder, `theirs-${algorithm}`);
      composefsOutput(["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, ours]);
      composefs(ours, "oci", "pull", layout.reference, "debian");
      peerOutput("cfsctl", ["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, theirs]);
      cfsctl(theirs, "oci", "pull", layout.reference, "debian");
    });

    it("is a sound repository by our own audit", () => {
      expect(auditRepository(ours)).toMatchObject({ problems: [], temporary: [], tags: ["debian"] });
    });

    it("passes cfsctl fsck and oci fsck", () => {
      expect(lines(cfsctl(ours, "fsck"))).toContain("status: ok");
      expect(lines(cfsctl(ours, "oci", "fsck"))).toEqual(expect.arrayContaining(["status: ok", "oci images: 1/1 ok"]));
    });

    it("has the image id that cfsctl gives", () => {
      const { composefs_erofs: id } = inspectByThem(theirs);
      expect(id).toMatch(algorithm === "sha256" ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{128}$/);
      expect(inspectByUs(ours).composefs_erofs).toBe(id);
      expect(inspectByThem(ours).composefs_erofs).toBe(id);
      expect(inspectByUs(theirs).composefs_erofs).toBe(id);
      expect(composefs(ours, "oci", "compute-id", "debian").trim()).toBe(id);
      expect(composefs(theirs, "oci", "compute-id", "debian").trim()).toBe(id);
      expect(cfsctl(ours, "oci", "compute-id", "debian").trim()).toBe(id);
    });

    it("has the ids of the other formats and modes that cfsctl gives", () => {
      for (const version of ["1", "2"]) {
        for (const mode of ["allowlist-only", "keep-user-xattrs"]) {
          const args = ["oci", "compute-id", "--xattrs", mode, "debian"];
          expect(
            composefsOutput(["--repo", ours, "--erofs-version", version, ...args]).trim(),
            `V${version}, ${mode}`,
          ).toBe(peerOutput("cfsctl", ["--repo", theirs, "--erofs-version", version, ...args]).trim());
        }
      }
    });

    it("dumps the same tree", () => {
      const byThem = peerBytes("cfsctl", ["--repo", theirs, "oci", "dump", "debian"]);
      expect(sha256(composefsBytes(["--repo", ours, "oci", "dump", "debian"]))).toBe(sha256(byThem));
      expect(sha256(composefsBytes(["--repo", theirs, "oci", "dump", "debian"]))).toBe(sha256(byThem));
      expect(sha256(peerBytes("cfsctl", ["--repo", ours, "oci", "dump", "debian"]))).toBe(sha256(byThem));
      expect(byThem.length).toBeGreaterThan(500_000);
    });

    it("is listed and inspected the same by cfsctl", () => {
      expect(JSON.parse(cfsctl(ours, "oci", "images", "--json"))).toEqual(
        JSON.parse(cfsctl(theirs, "oci", "images", "--json")),
      );
      expect(inspectByThem(ours)).toEqual(inspectByThem(theirs));
      expect(JSON.parse(inspectByThem(ours).manifest)).toMatchObject({ config: { digest: layout.configDigest } });
      expect(sha256(Buffer.from(inspectByThem(ours).config))).toBe(layout.configDigest);
    });

    it("gives the layers back byte for byte, across tools", () => {
      for (const diffId of layout.diffIds) {
        const name = `oci-layer-${diffId}`;
        expect(sha256(peerBytes("cfsctl", ["--repo", ours, "cat", name])), `cfsctl cat of ours, ${name}`).toBe(diffId);
        expect(sha256(composefsBytes(["--repo", theirs, "cat", name])), `cat of theirs, ${name}`).toBe(diffId);
        expect(sha256(composefsBytes(["--repo", ours, "cat", name])), `cat of ours, ${name}`).toBe(diffId);
      }
    });

    it("holds the same objects in the image", () => {
      const id = inspectByThem(theirs).composefs_erofs;
      const byThem = lines(cfsctl(theirs, "image-objects", id)).toSorted();
      expect(lines(composefs(ours, "image-objects", id)).toSorted()).toEqual(byThem);
      expect(lines(composefs(theirs, "image-objects", id)).toSorted()).toEqual(byThem);
      expect(byThem.length).toBeGreaterThan(1_000);
    });

    it("leaves nothing for cfsctl gc to remove", () => {
      expect(lines(cfsctl(ours, "gc", "--dry-run"))).toContain("Objects: 0 removed (0 bytes)");
    });

    it("is found complete by a pull of cfsctl", () => {
      const output = cfsctl(ours, "oci", "pull", layout.reference, "debian");
      expect(objectCounts(output).created).toBe(0);
      expect(inspectByThem(ours).composefs_erofs).toBe(inspectByThem(theirs).composefs_erofs);
      expect(runPeer("cfsctl", ["--repo", ours, "fsck"]).status).toBe(0);
    });

    it("finds the repository of cfsctl complete", () => {
      const before = auditRepository(theirs);
      const output = composefs(theirs, "oci", "pull", layout.reference, "debian");
      expect(objectCounts(output).created).toBe(0);
      const after = auditRepository(theirs);
      expect(after.problems).toEqual([]);
      expect(after.images).toEqual(before.images);
      expect(after.streams).toEqual(before.streams);
      // At most a config and a manifest stream whose bytes differ from those of cfsctl.
      expect(after.objects - before.objects).toBeLessThanOrEqual(2);
      expect(lines(cfsctl(theirs, "fsck"))).toContain("status: ok");
      expect(lines(cfsctl(theirs, "oci", "fsck"))).toContain("oci images: 1/1 ok");
    });
  });
});

describeWithPeers(["skopeo", "mmdebstrap", "zstd"], "a Debian root that skopeo converted", () => {
  it.each(["gzip", "zstd"])("to %s layers gives the same image id", (compression) => {
    const layout = debianLayout();
    const folder = mkdtempSync(join(tmpdir(), "composefs-skopeo-"));
    try {
      const converted = `oci:${join(folder, "layout")}:converted`;
      peerOutput("skopeo", [
        "copy",
        "--quiet",
        "--insecure-policy",
        `--dest-compress-format=${compression}`,
        layout.reference,
        converted,
      ]);
      const repository = join(folder, "repository");
      composefsOutput(["init", "--insecure", repository]);
      composefsOutput(["--repo", repository, "oci", "pull", layout.reference, "original"]);
      const output = composefsOutput(["--repo", repository, "oci", "pull", converted, "converted"]);
      expect(objectCounts(output).created).toBe(0);
      const id = (tag: string) =>
        (JSON.parse(composefsOutput(["--repo", repository, "oci", "inspect", tag])) as Inspected).composefs_erofs;
      expect(id("converted")).toBe(id("original"));
      expect(auditRepository(repository).problems).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
