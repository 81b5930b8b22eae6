// Archives and directories that skopeo makes of the recorded images: the same image comes out of each of them.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, it } from "vitest";

import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "../oci/golden-layouts.ts";
import { describeWithPeers, runPeer } from "../peer.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
// skopeo takes the first entry of a tag, whatever its platform: of 09 that is another image.
const containers = goldenImages.filter(({ is_container, name }) => is_container && name !== "09-multiarch-flat");

describeWithPeers(["skopeo"], "what skopeo writes", () => {
  let work: string;
  const copied = new Map<string, number>();
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), "composefs-skopeo-"));
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it.each(containers.map((image) => ({ name: image.name, image })))("$name", async ({ image }) => {
    const layout = unpackLayout(image.layout, join(work, image.name));
    const targets = [
      { reference: `oci-archive:${work}/${image.name}.oci.tar:v1`, keepsManifest: true },
      { reference: `dir:${work}/${image.name}.dir`, keepsManifest: true },
      { reference: `docker-archive:${work}/${image.name}.docker.tar:h.example/os:v1`, keepsManifest: false },
    ];
    const path = join(work, `${image.name}.repository`);
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    for (const { reference, keepsManifest } of targets) {
      const { status, stderr } = runPeer("skopeo", [
        "--insecure-policy",
        "--override-arch=amd64",
        "--override-os=linux",
        "copy",
        "--quiet",
        ...(keepsManifest ? ["--preserve-digests"] : []),
        `oci:${layout}:${image.tag}`,
        reference,
      ]);
      if (status !== 0) {
        // Docker manifests in layouts, and zstd in Docker archives, are beyond skopeo.
        expect(stderr).toMatch(/no descriptor found for reference|zstd compression is not supported/);
        continue;
      }
      // skopeo stops at the first member: the archive that it makes of such layers is not the image.
      if (!keepsManifest && image.name === "12-multimember") continue;
      copied.set(
        reference.slice(0, reference.indexOf(":")),
        (copied.get(reference.slice(0, reference.indexOf(":"))) ?? 0) + 1,
      );
      const result = await pull(repository, reference, { tag: reference, platform });
      expect(result.images[0]?.id, reference).toBe(image.image_ids?.sha256["v1"]);
      if (keepsManifest)
        expect(result.sourceManifestDigest ?? result.manifestDigest).toBe(
          image.source_manifest_digest ?? image.manifest_digest,
        );
    }
  });

  it("was most of them, in every form", () => {
    for (const transport of ["oci-archive", "dir", "docker-archive"]) {
      expect(copied.get(transport), transport).toBeGreaterThan(containers.length / 2);
    }
  });
});
