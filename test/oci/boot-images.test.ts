// Boot images in the repository (docs/spec/boot.md, section 2; oci.md, section 6.1): the references that keep them, the search for one
// with a known digest, and letting them go.

import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import type { BootImage } from "../../src/oci/boot-images.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { listTags, untagImage } from "../../src/oci/tags.ts";
import { pull } from "../../src/oci/pull.ts";
import type { PullOptions } from "../../src/oci/pull-options.ts";
import { dropBootImages, makeBootImages } from "../../src/oci/stored-boot.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { goldensDir } from "../goldens-dir.ts";

const transform = join(goldensDir("boot"), "transform");
const work = mkdtempSync(join(tmpdir(), "composefs-boot-images-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

let reference: string;
let recompressed: string;
let notBootable: string;
beforeAll(() => {
  const layout = (name: string, layer: string, compression: "gzip" | "none") =>
    writeLayout(join(work, name), "latest", [{ tar: readFileSync(join(transform, layer)), compression }]).reference;
  reference = layout("layout", "user-xattrs.tar", "none");
  // The same config and layers under another manifest.
  recompressed = layout("recompressed", "user-xattrs.tar", "gzip");
  notBootable = layout("not-bootable", "no-boot.tar", "none");
});

let count = 0;
async function newRepository(formats: readonly (0 | 1 | 2)[] = [1]): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  const [first = 1, ...rest] = formats;
  await Repository.init(path, { algorithm: "sha256", insecure: true, erofsVersion: first });
  const meta = join(path, "meta.json");
  const text = JSON.parse(readFileSync(meta, "utf8")) as { erofs_formats?: object };
  writeFileSync(meta, JSON.stringify({ ...text, erofs_formats: { default: first, extra: rest } }));
  return Repository.open(path, { write: true, durability: "none" });
}

const refs = async (repository: Repository, name = "t") => [...(await openImage(repository, name)).imageRefs.keys()];
const links = (repository: Repository) =>
  readdirSync(join(repository.path, "images")).filter((name) => /^[0-9a-f]+$/.test(name));
const take = (repository: Repository, options: Partial<PullOptions> = {}, from = reference) =>
  pull(repository, from, { tag: "t", ...options });
const idOf = (repository: Repository, version: 0 | 1 | 2, xattrs: BootImage["xattrs"] = "allowlist-only") =>
  computeImageId(repository, "t", { version, xattrs, bootable: true });

function state(repository: Repository): string[] {
  return (readdirSync(repository.path, { recursive: true }) as string[]).toSorted().map((name) => {
    const { ino, mtimeMs, size } = lstatSync(join(repository.path, name));
    return `${name} ${ino} ${size} ${name === "streams" ? "" : mtimeMs}`;
  });
}

describe("pull with bootable", () => {
  it.each([
    { formats: [1] as const, keys: ["composefs.image.v1", "composefs.image.boot.v1"] },
    { formats: [0] as const, keys: ["composefs.image.v1", "composefs.image.boot.v1"] },
    { formats: [2] as const, keys: ["composefs.image", "composefs.image.boot"] },
    {
      formats: [1, 2] as const,
      keys: ["composefs.image", "composefs.image.v1", "composefs.image.boot", "composefs.image.boot.v1"],
    },
  ])("makes what a repository of the formats $formats has, and nothing again", async ({ formats, keys }) => {
    await using repository = await newRepository(formats);
    const { bootImages, images } = await take(repository, { bootable: true });
    expect(bootImages.map(({ version }) => version)).toEqual(formats);
    for (const { version, id } of bootImages) expect(id).toBe(await idOf(repository, version));
    expect(await refs(repository)).toEqual(keys.toSorted());
    expect(links(repository).toSorted()).toEqual([...bootImages, ...images].map(({ id }) => id).toSorted());
    expect(auditRepository(repository.path).problems).toEqual([]);
    const before = state(repository);
    expect((await take(repository, { bootable: true })).bootImages).toEqual(bootImages);
    expect(state(repository)).toEqual(before);
  });

  it("writes config and manifest once", async () => {
    await using repository = await newRepository();
    await take(repository, { bootable: true });
    const { plan } = await collectGarbage(repository, { dryRun: true });
    expect(plan.objects).toEqual([]);
  });

  it("leaves an image that cannot be booted pulled and tagged, and says so", async () => {
    await using repository = await newRepository();
    await expect(take(repository, { bootable: true }, notBootable)).rejects.toMatchObject({
      code: "invalid",
      reason: "not-found",
      path: "/boot",
      message: "the image was pulled and tagged t, but has no boot image: there is no directory /boot in the image",
    });
    expect(listTags(repository).map(({ name }) => name)).toEqual(["t"]);
    expect(await refs(repository)).toEqual(["composefs.image.v1"]);
    expect(auditRepository(repository.path).problems).toEqual([]);
  });
});

describe("an expected digest", () => {
  it.each(["xyz", "ab".repeat(31), "ab".repeat(64), ""])(
    "%j is refused before anything is looked at",
    async (digest) => {
      await using repository = await newRepository();
      const options = { bootable: true, expectedDigest: digest };
      await expect(take(repository, options, "oci:/no/such/layout")).rejects.toThrow(/is not the digest of an image/);
    },
  );

  it("needs bootable", async () => {
    await using repository = await newRepository();
    await expect(take(repository, { expectedDigest: "ab".repeat(32) })).rejects.toMatchObject({ code: "usage" });
  });

  it.each([
    { xattrs: "allowlist-only", version: 1, key: "composefs.image.boot.v1" },
    { xattrs: "allowlist-only", version: 2, key: "composefs.image.boot" },
    { xattrs: "keep-user-xattrs", version: 1, key: "composefs.image.boot.v1.xattrs=keep-user-xattrs" },
    { xattrs: "keep-user-xattrs", version: 2, key: "composefs.image.boot.xattrs=keep-user-xattrs" },
  ] as const)("of $xattrs in format $version is found, stored and referred to", async ({ xattrs, version, key }) => {
    await using repository = await newRepository();
    await take(repository);
    const id = await idOf(repository, version, xattrs);
    const found = await take(repository, { bootable: true, expectedDigest: id.toUpperCase() });
    expect(found.bootImages).toEqual([{ xattrs, version, id }]);
    expect(await refs(repository)).toEqual(["composefs.image.v1", key].toSorted());
    expect(links(repository)).toContain(id);
    const before = state(repository);
    await take(repository, { bootable: true, expectedDigest: id });
    expect(state(repository)).toEqual(before);
    // Others are added beside it.
    await take(repository, { bootable: true });
    const all = new Set(["composefs.image.v1", "composefs.image.boot.v1", key]);
    expect(await refs(repository)).toEqual([...all].toSorted());
  });

  it("that nothing has is named, with how much was tried; the image stays", async () => {
    await using repository = await newRepository();
    const digest = "ab".repeat(32);
    for (let round = 0; round < 2; round++) {
      const error = await take(repository, { bootable: true, expectedDigest: digest }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ComposefsError);
      expect(error).toMatchObject({ code: "digest-mismatch", digest });
      expect((error as Error).message).toContain(
        `no boot image configuration matched expected digest ${digest} (tried 4 mode/version combinations)`,
      );
      expect(listTags(repository)).toHaveLength(1);
      await take(repository, { bootable: true });
    }
  });

  it("of format 0 is not looked for, even where its image is stored", async () => {
    await using repository = await newRepository([0]);
    const [boot] = (await take(repository, { bootable: true })).bootImages;
    await expect(take(repository, { bootable: true, expectedDigest: boot?.id })).rejects.toMatchObject({
      code: "digest-mismatch",
    });
  });
});

describe("boot images", () => {
  it("are kept by the config, also through another manifest, until they are let go", async () => {
    await using repository = await newRepository([1, 2]);
    const { bootImages } = await take(repository, { bootable: true });
    await pull(repository, recompressed, { tag: "other" });
    await untagImage(repository, "t");
    await collectGarbage(repository);
    const ids = bootImages.map(({ id }) => id);
    for (const id of ids) expect(repository.hasObject(id)).toBe(true);
    expect(await refs(repository, "other")).toHaveLength(4);

    expect((await dropBootImages(repository, "other")).toSorted()).toEqual(ids.toSorted());
    expect(await refs(repository, "other")).toEqual(["composefs.image", "composefs.image.v1"]);
    expect(await dropBootImages(repository, "other")).toEqual([]);
    await collectGarbage(repository);
    for (const id of ids) {
      expect(repository.hasObject(id)).toBe(false);
      expect(existsSync(join(repository.path, "images", id))).toBe(false);
    }
    expect(auditRepository(repository.path).problems).toEqual([]);
  });

  it("are made of a stored image, with what it can be booted with", async () => {
    await using repository = await newRepository([1, 2]);
    await take(repository);
    const { images, resources, policy } = await makeBootImages(repository, "t");
    for (const { version, id } of images) expect(id).toBe(await idOf(repository, version));
    expect(resources).toEqual([]);
    expect(policy?.name).toBe("targeted");
    await collectGarbage(repository);
    expect((await take(repository, { bootable: true })).bootImages).toEqual(images);
    const before = state(repository);
    expect((await makeBootImages(repository, "t")).images).toEqual(images);
    expect(state(repository)).toEqual(before);
  });
});
