// Every recorded OCI layout (docs/spec/oci.md, section 14): what must be imported gives the recorded ids, streams, dumps
// and listings; what must be refused is, by name, and leaves nothing published.

import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { formatTable } from "../../src/cli/table.ts";
import { ComposefsError } from "../../src/error.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { dumpImage } from "../../src/oci/dump.ts";
import { imageConfig, imageManifest, inspectImage } from "../../src/oci/inspect.ts";
import { layerDump, layerInfo, layerTar } from "../../src/oci/layer-info.ts";
import { listImages } from "../../src/oci/list.ts";
import { pull } from "../../src/oci/pull.ts";
import type { PullResult } from "../../src/oci/pull-options.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { Repository } from "../../src/repository/repository.ts";
import { XATTR_MODES } from "../../src/tree/xattr-filter.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { decodeStreams } from "./decoded-streams.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens, type GoldenImage } from "./golden-layouts.ts";

const { goldenImages, malformedImages, recorded, unpackLayout } = openOciGoldens(goldensDir("oci"));

const ALGORITHMS: Algorithm[] = ["sha256", "sha512"];
/** The machine on which the goldens were recorded. */
const platform = parsePlatform("linux/amd64");

let work: string;
const layouts = new Map<string, string>();

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-oci-"));
  for (const { layout } of [...goldenImages, ...malformedImages]) {
    if (!layouts.has(layout)) layouts.set(layout, unpackLayout(layout, work));
  }
}, 60_000);

afterAll(() => rmSync(work, { recursive: true, force: true }), 60_000);

let repositories = 0;

async function newRepository(algorithm: Algorithm): Promise<Repository> {
  const path = join(work, `repository-${repositories++}`);
  await Repository.init(path, { algorithm, insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

function referenceOf(image: { layout: string; tag?: string }): string {
  return `oci:${layouts.get(image.layout)}:${image.tag ?? "latest"}`;
}

function tagOf(image: GoldenImage): string {
  return `golden/${image.name}:${image.tag}`;
}

const json = (path: string) => JSON.parse(readFileSync(path, "utf8")) as unknown;

async function dump(repository: Repository, name: string, xattrs: (typeof XATTR_MODES)[number]): Promise<string> {
  return [...(await dumpImage(repository, name, { xattrs }))].join("");
}

async function collect(lines: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const line of lines) text += line;
  return text;
}

/** The audit knows container images only: those have an EROFS image, and layers that are named by their content. */
function auditProblems(problems: string[], { is_container: isContainer, layers }: GoldenImage): string[] {
  if (isContainer) return problems;
  const tarLayers = layers
    .filter((layer) => layer.mediaType.includes("tar"))
    .map(({ digest }) => `oci-layer-${digest} `);
  return problems.filter((text) => !text.includes("names no image") && !tarLayers.some((name) => text.includes(name)));
}

/** Every file and link of a repository with what identifies its state. */
function snapshot(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[]).toSorted().map((name) => {
    const path = join(directory, name);
    try {
      return `${name} -> ${readlinkSync(path)}`;
    } catch {
      const { ino, size, mtimeMs } = statSync(path);
      return statSync(path).isDirectory() ? name : `${name} ${ino} ${size} ${mtimeMs}`;
    }
  });
}

describe.each(ALGORITHMS)("recorded images, %s", (algorithm) => {
  describe.each(goldenImages.map((image) => ({ title: `${image.name}:${image.tag}`, image })))(
    "$title",
    ({ image }) => {
      let repository: Repository;
      let result: PullResult;
      const tag = tagOf(image);

      beforeAll(async () => {
        repository = await newRepository(algorithm);
        result = await pull(repository, referenceOf(image), { tag, platform });
      });
      afterAll(() => repository.close());

      it("gives the recorded digests and image id", () => {
        expect(result).toMatchObject({
          manifestDigest: image.manifest_digest,
          configDigest: image.config_digest,
          sourceManifestDigest: image.source_manifest_digest,
          isContainer: image.is_container,
          images: image.image_ids === undefined ? [] : [{ version: 1, id: image.image_ids[algorithm]["v1"] }],
        });
        expect(result.verity).toBe(repository.stream(`oci-manifest-${image.manifest_digest}`));
      });

      it("leaves the recorded streams and tag, and nothing else", () => {
        const streams = join(repository.path, "streams");
        const names = readdirSync(streams).filter((name) => name !== "refs");
        expect(names.toSorted()).toEqual(image.streams.toSorted());
        for (const [link, target] of Object.entries(image.refs)) {
          expect(readlinkSync(join(repository.path, link))).toBe(target);
        }
        const audit = auditRepository(repository.path);
        expect(auditProblems(audit.problems, image)).toEqual([]);
        expect(audit.temporary).toEqual([]);
        expect(audit.images).toEqual(result.images.map(({ id }) => id));
      });

      it.runIf(algorithm === "sha256" && existsSync(recorded(image, "streams.sha256.json")))(
        "writes streams that decode as recorded",
        async () => {
          expect(await decodeStreams(repository)).toEqual(json(recorded(image, "streams.sha256.json")));
        },
      );

      it.runIf(existsSync(recorded(image, "images.json")))("is listed and inspected as recorded", async () => {
        const images = await listImages(repository);
        expect({ images }).toEqual(json(recorded(image, "images.json")));
        const rows = images.map((row) => [
          row.name,
          row.manifest_digest.slice(7, 19),
          row.architecture || "artifact",
          String(row.layer_count),
          String(row.referrer_count),
        ]);
        const table = formatTable(["NAME", "DIGEST", "ARCH", "LAYERS", "REFS"], rows, true);
        expect(table).toBe(readFileSync(recorded(image, "images.txt"), "utf8"));
        const inspected = json(recorded(image, `inspect.${algorithm}.json`));
        expect(await inspectImage(repository, tag)).toEqual(inspected);
        expect(await inspectImage(repository, `@${image.manifest_digest}`)).toEqual(inspected);
        expect(await inspectImage(repository, image.manifest_digest)).toEqual(inspected);
      });

      it("keeps the bytes of manifest and config", async () => {
        expect(contentDigest(await imageManifest(repository, tag))).toBe(image.manifest_digest);
        expect(contentDigest(await imageConfig(repository, tag))).toBe(image.config_digest);
        const converted = recorded(image, "converted-manifest.json");
        if (existsSync(converted)) {
          expect(Buffer.from(await imageManifest(repository, tag))).toEqual(readFileSync(converted));
        }
      });

      it("changes nothing when it is pulled again", async () => {
        const before = snapshot(repository.path);
        const again = await pull(repository, referenceOf(image), { tag, platform });
        expect(snapshot(repository.path)).toEqual(before);
        expect(again.verity).toBe(result.verity);
        expect(again.images).toEqual(result.images);
        expect(again.stats).toMatchObject({ newObjects: 0, presentObjects: 0, importedLayers: 0 });
        expect(again.stats.skippedLayers).toBe(new Set(image.diff_ids ?? image.layers.map((l) => l.digest)).size);
      });

      it.runIf(image.image_ids === undefined)("has no tree, and says so", async () => {
        await expect(computeImageId(repository, tag)).rejects.toMatchObject({ code: "invalid" });
        await expect(dumpImage(repository, tag)).rejects.toThrow("artifact");
      });

      describe.skipIf(image.image_ids === undefined)("its tree", () => {
        const ids = image.image_ids?.[algorithm] ?? {};

        it.each(XATTR_MODES)("has the recorded dump, xattrs %s", async (mode) => {
          const usual = recorded(image, `dump.${algorithm}.txt`);
          const other = recorded(image, `dump.${mode}.${algorithm}.txt`);
          const expected = readFileSync(existsSync(other) ? other : usual, "latin1");
          expect(await dump(repository, tag, mode)).toBe(expected);
          expect(await dump(repository, `@${image.config_digest}`, mode)).toBe(expected);
        });

        for (const version of [1, 2] as const) {
          it.each(XATTR_MODES)(`has the recorded id in format V${version}, xattrs %s`, async (xattrs) => {
            const expected =
              (xattrs === "allowlist-only" ? undefined : ids[`v${version}.${xattrs}`]) ?? ids[`v${version}`];
            expect(expected).toMatch(/^[0-9a-f]+$/);
            expect(await computeImageId(repository, tag, { version, xattrs })).toBe(expected);
          });

          it.runIf(algorithm === "sha256")(`stores the recorded image in format V${version}`, async () => {
            const pulled = await pull(repository, referenceOf(image), { tag, platform, formats: [version] });
            const id = ids[`v${version}`] as string;
            expect(pulled.images).toEqual([{ version, id }]);
            const expected = gunzipSync(readFileSync(recorded(image, `image.v${version}.sha256.erofs.gz`)));
            expect(Buffer.compare(await repository.readObject(id), expected)).toBe(0);
          });
        }

        it.runIf(algorithm === "sha256")("has the recorded dump as a boot image", async () => {
          const expected = readFileSync(recorded(image, "dump.bootable.sha256.txt"), "latin1");
          expect([...(await dumpImage(repository, tag, { bootable: true }))].join("")).toBe(expected);
        });

        for (const version of [1, 2] as const) {
          it.each(XATTR_MODES)(`has the recorded boot id in format V${version}, xattrs %s`, async (xattrs) => {
            const expected =
              (xattrs === "allowlist-only" ? undefined : ids[`v${version}.boot.${xattrs}`]) ?? ids[`v${version}.boot`];
            expect(expected).toMatch(/^[0-9a-f]+$/);
            expect(await computeImageId(repository, tag, { version, xattrs, bootable: true })).toBe(expected);
            const found = await pull(repository, referenceOf(image), {
              tag,
              platform,
              bootable: true,
              expectedDigest: expected?.toUpperCase(),
            });
            // The other mode's image may be the same one, and is looked for first.
            expect(found.bootImages).toMatchObject([{ id: expected, version }]);
          });

          it(`stores the recorded boot image in format V${version}`, async () => {
            const pulled = await pull(repository, referenceOf(image), {
              tag,
              platform,
              formats: [version],
              bootable: true,
            });
            expect(pulled.bootImages).toEqual([{ version, xattrs: "allowlist-only", id: ids[`v${version}.boot`] }]);
            expect((await inspectImage(repository, tag, version)).composefs_boot_erofs).toBe(ids[`v${version}.boot`]);
            expect(auditRepository(repository.path).problems).toEqual([]);
          });
        }

        it("keeps the images of other formats when one is pulled anew", async () => {
          await pull(repository, referenceOf(image), { tag, platform, formats: [2] });
          await pull(repository, referenceOf(image), { tag, platform, formats: [1] });
          expect((await inspectImage(repository, tag, 1)).composefs_erofs).toBe(ids["v1"]);
          expect((await inspectImage(repository, tag, 2)).composefs_erofs).toBe(ids["v2"]);
        });

        it("gives its layers back", async () => {
          const diffIds = [...new Set(image.diff_ids)];
          const infos = [];
          let dumps = "";
          for (const diffId of diffIds) {
            const { verity, ...info } = await layerInfo(repository, diffId);
            expect(verity).toBe(repository.stream(`oci-layer-${diffId}`));
            infos.push(info);
            dumps += `# ${diffId}\n${await collect(layerDump(repository, diffId))}`;
            const chunks: Uint8Array[] = [];
            for await (const chunk of layerTar(repository, diffId)) chunks.push(chunk.slice());
            expect(contentDigest(Buffer.concat(chunks), diffId.startsWith("sha512") ? "sha512" : "sha256")).toBe(
              diffId,
            );
          }
          // What the reference could not import has no such records.
          if (!existsSync(recorded(image, "layers.json"))) return;
          expect(infos).toEqual(json(recorded(image, "layers.json")));
          if (algorithm === "sha256") {
            expect(dumps).toBe(readFileSync(recorded(image, "layers.dump.sha256.txt"), "latin1"));
          }
        });
      });
    },
  );
});

/** What the error about each malformed image has to name; others must name a layer, a digest or a platform. */
const NAMES: Record<string, RegExp> = {
  "m01-missing-parent": /layer 2 of 2 .*"no\/such\/file"/,
  "m02-dotdot": /layer 2 of 2 .*"\/?a\/\.\.\/b"/,
  "m03-hardlink-missing": /layer 2 of 2 .*entry ".*target "/,
  "m04-truncated": /layer 2 of 2/,
  "m05-checksum": /layer 2 of 2 .*checksum/,
  "m06-sparse": /layer 2 of 2 .*sparse/,
  "m07-diffid": /sha256:(ab){32}/,
  "m08-blobdigest": /sha256:[0-9a-f]{64}/,
  "m09-blobsize": /sha256:[0-9a-f]{64}.*2560.*1234|1234.*2560/,
  "m10-gzipcrc": /layer 2 of 2/,
  "m11-no-usr": /no directory \/usr/,
  "m12-platform": /linux\/amd64.*linux\/s390x/,
  "m13-count": /2 layers.*1 diff_ids/,
  "m14-type": /layer 2 of 2 .*type/,
  "m15-through-symlink": /layer 2 of 2 .*"l\/[^"]*".*"l" is not a directory/,
  "m17-name256": /layer 2 of 2 .*256 bytes/,
  "m18-configdigest": /config sha256:0199d167/,
  "m19-paxmtime": /layer 2 of 2 .*-5\.5/,
};

it("every recorded layout is judged", () => {
  const archives = readdirSync(goldensDir("oci")).filter((name) => name.endsWith(".tar"));
  expect(archives.toSorted()).toEqual([...layouts.keys()].toSorted());
});

it("most records are there", () => {
  const having = (file: string) => goldenImages.filter((image) => existsSync(recorded(image, file))).length;
  for (const file of ["streams.sha256.json", "images.json", "inspect.sha512.json"]) {
    expect(having(file)).toBeGreaterThan(goldenImages.length / 2);
  }
});

describe("malformed images", () => {
  const refused = malformedImages.filter(({ must }) => must === "reject");
  describe.each(ALGORITHMS)("%s", (algorithm) => {
    it.each(refused)("$name is refused by name and publishes nothing: $why", async (image) => {
      await using repository = await newRepository(algorithm);
      const error = await pull(repository, referenceOf(image), { tag: "bad", platform }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ComposefsError);
      expect(["invalid", "digest-mismatch", "not-found"]).toContain((error as ComposefsError).code);
      expect((error as ComposefsError).message).toMatch(
        NAMES[image.name] ?? /layer \d+ of \d+|sha256:[0-9a-f]{64}|linux\//,
      );
      const audit = auditRepository(repository.path);
      expect(audit).toMatchObject({ problems: [], temporary: [], tags: [], streams: [], images: [] });
      expect(await listImages(repository)).toEqual([]);
    });

    it.each(malformedImages.filter(({ must }) => must !== "reject"))("$name is imported: $why", async (image) => {
      await using repository = await newRepository(algorithm);
      const { images } = await pull(repository, referenceOf(image), { tag: "odd", platform });
      expect(images).toHaveLength(1);
      expect(auditRepository(repository.path).problems).toEqual([]);
    });
  });
});
