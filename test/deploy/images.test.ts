// The test images of the goldens: digests and ids, in each format and with each hash.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { inspectImage } from "../../src/oci/inspect.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { testImages } from "./deploy-goldens.ts";

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-deploy-images-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe.each(["sha256", "sha512"] as const)("%s", (algorithm) => {
  test("images have the recorded digests and ids", async () => {
    const path = join(work, algorithm);
    await Repository.init(path, { algorithm, insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    const images = Object.entries(testImages());
    expect(images.length).toBeGreaterThan(0);
    for (const [name, image] of images) {
      await pull(repository, `oci:${join(goldensDir("deploy"), "oci")}:${image.tag}`, { tag: name });
      const { manifest, config } = await inspectImage(repository, name);
      expect(
        [manifest, config].map((text) => JSON.parse(text) as unknown),
        name,
      ).toEqual([image.manifest, image.config]);
      expect(
        [manifest, config].map((text) => contentDigest(Buffer.from(text))),
        name,
      ).toEqual([image.manifestDigest, image.configDigest]);
      const ids = {
        [`v1-${algorithm}`]: await computeImageId(repository, name, { version: 1 }),
        [`v2-${algorithm}`]: await computeImageId(repository, name, { version: 2 }),
      };
      expect(image.imageId, name).toMatchObject(ids);
      if (image.bootImageId === undefined) continue;
      const bootIds = {
        [`v1-${algorithm}`]: await computeImageId(repository, name, { version: 1, bootable: true }),
        [`v2-${algorithm}`]: await computeImageId(repository, name, { version: 2, bootable: true }),
      };
      expect(image.bootImageId, name).toMatchObject(bootIds);
    }
  });
});
