// Copies between repositories (docs/spec/oci.md, section 9): of any algorithm, verified, with artifacts as they were.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { copyImage } from "../../src/oci/copy.ts";
import { inspectImage } from "../../src/oci/inspect.ts";
import { listImages } from "../../src/oci/list.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { Repository } from "../../src/repository/repository.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { decodeStreams } from "./decoded-streams.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens, type GoldenImage } from "./golden-layouts.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));

const platform = parsePlatform("linux/amd64");
let work: string;
let count = 0;
const layouts = new Map<string, string>();

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-copy-"));
  for (const { layout } of goldenImages) if (!layouts.has(layout)) layouts.set(layout, unpackLayout(layout, work));
}, 60_000);
afterAll(() => rmSync(work, { recursive: true, force: true }), 60_000);

async function newRepository(algorithm: Algorithm): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm, insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

const referenceOf = (image: GoldenImage) => `oci:${layouts.get(image.layout)}:${image.tag}`;

const artifacts = goldenImages.filter((image) => !image.is_container);
const directions: [Algorithm, Algorithm, GoldenImage[]][] = [
  ["sha512", "sha256", goldenImages],
  ["sha256", "sha512", artifacts],
  ["sha256", "sha256", artifacts],
];

describe.each(directions)("from %s to %s", (source, destination, images) => {
  it.each(images.map((image) => ({ title: `${image.name}:${image.tag}`, image })))(
    "$title arrives as a pull would have made it",
    async ({ title, image }) => {
      await using from = await newRepository(source);
      await using to = await newRepository(destination);
      await using pulled = await newRepository(destination);
      await pull(from, referenceOf(image), { tag: title, platform });
      await pull(pulled, referenceOf(image), { tag: title, platform });
      const result = await copyImage(from, to, title);
      expect(result).toMatchObject({
        manifestDigest: image.manifest_digest,
        configDigest: image.config_digest,
        tag: title,
      });
      expect(result.images.map(({ id }) => id)).toEqual(
        image.image_ids === undefined ? [] : [image.image_ids[destination]["v1"]],
      );
      expect(result.manifestVerity).toBe(to.stream(`oci-manifest-${image.manifest_digest}`));
      expect(result.configVerity).toBe(to.stream(`oci-config-${image.config_digest}`));
      expect(await decodeStreams(to)).toEqual(await decodeStreams(pulled));
      expect(await listImages(to)).toEqual(await listImages(pulled));
      expect(await copyImage(from, to, title)).toEqual({ ...result, copiedLayers: 0 });
    },
  );
});

describe("a copy", () => {
  const image = goldenImages.find(({ name }) => name === "03-hardlinks") as GoldenImage;

  it("by digest has no tag unless it is given one, which may be another", async () => {
    await using from = await newRepository("sha256");
    await using to = await newRepository("sha256");
    await pull(from, referenceOf(image), { tag: "original", platform });
    expect((await copyImage(from, to, `@${image.manifest_digest}`)).tag).toBeUndefined();
    expect(await listImages(to)).toEqual([]);
    expect((await copyImage(from, to, image.manifest_digest, { tag: "new/name" })).tag).toBe("new/name");
    expect((await inspectImage(to, "new/name")).composefs_erofs).toBe(image.image_ids?.sha256["v1"]);
    await expect(copyImage(from, to, `@${image.config_digest}`)).rejects.toMatchObject({ code: "invalid" });
    await expect(copyImage(from, to, "orignal")).rejects.toMatchObject({ hint: "did you mean original?" });
    await expect(copyImage(from, to, "original", { tag: "@no" })).rejects.toMatchObject({ code: "invalid" });
  });

  it("of a damaged layer is refused and publishes nothing", async () => {
    await using from = await newRepository("sha256");
    await using to = await newRepository("sha256");
    await pull(from, referenceOf(image), { tag: "t", platform });
    const { layers } = await openImage(from, "t");
    const { objectRefs } = await from.openStream(layers[0]?.id ?? "");
    const path = from.objectPath(objectRefs[0] ?? "");
    const bytes = readFileSync(path);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await expect(copyImage(from, to, "t")).rejects.toMatchObject({ code: "corrupt" });
    expect(auditRepository(to.path)).toMatchObject({ problems: [], temporary: [], streams: [], images: [], tags: [] });
  });
});
