// What goes wrong before and during a pull: every error says what and what to do, nothing is published, and what was
// refused once does not stand in the way of a good image (docs/spec/oci.md, section 14, point 2).

import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import type { PullOptions } from "../../src/oci/pull-options.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { ProgressEvent } from "../../src/progress.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "./golden-layouts.ts";

const { goldenImages, malformedImages, unpackLayout } = openOciGoldens(goldensDir("oci"));

const platform = parsePlatform("linux/amd64");
const NOTHING = { problems: [], temporary: [], tags: [], streams: [], images: [] };
let work: string;
let count = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-refused-"));
}, 60_000);
afterAll(() => rmSync(work, { recursive: true, force: true }), 60_000);

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

/** A copy of a recorded layout, to be damaged. */
function copyOf(name: string): string {
  const image = goldenImages.find((golden) => golden.name === name);
  if (image === undefined) throw new Error(`there is no golden ${name}`);
  return unpackLayout(image.layout, join(work, `copy-${count++}`));
}

async function refusal(repository: Repository, reference: string, options: PullOptions = {}): Promise<ComposefsError> {
  const error: unknown = await pull(repository, reference, { tag: "t", platform, ...options }).catch((e: unknown) => e);
  if (!(error instanceof ComposefsError)) throw new Error(`not refused properly: ${String(error)}`);
  expect(auditRepository(repository.path)).toMatchObject(NOTHING);
  return error;
}

const blobPath = (layout: string, digest: string) => join(layout, "blobs", digest.replace(":", "/"));

function manifestOf(layout: string) {
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as { manifests: { digest: string }[] };
  const digest = index.manifests[0]?.digest ?? "";
  return { digest, manifest: parseManifest(readFileSync(blobPath(layout, digest))) };
}

/** Changes the text of a layout's manifest, and the index with it; the image loses its tag. */
function rewriteManifest(folder: string, change: (text: string) => string): void {
  const { digest } = manifestOf(folder);
  const bytes = Buffer.from(change(readFileSync(blobPath(folder, digest), "utf8")));
  writeFileSync(blobPath(folder, contentDigest(bytes)), bytes);
  const entry = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: contentDigest(bytes),
    size: bytes.length,
  };
  writeFileSync(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
}

/** An archive that makes a root file system: the directory /usr alone. */
function usrTar(): Uint8Array {
  const header = Buffer.alloc(1536);
  header.write("usr/", 0);
  header.write(["0000755", "0000000", "0000000", "00000000000", "00000000001", "        5"].join("\0"), 100);
  header.write("ustar\0", 257);
  header.write("00", 263);
  const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

describe("a refused layer", () => {
  const refused = malformedImages.filter(({ must }) => must === "reject");

  it.for(refused)("of $name does not stand in the way of a good image that shares it", async ({ layout }, { skip }) => {
    await using repository = await newRepository();
    const folder = unpackLayout(layout, join(work, `bad-${count++}`));
    await refusal(repository, `oci:${folder}:latest`);
    const { manifest } = manifestOf(folder);
    // All blobs of the image that are what they say, as uncompressed archives.
    const archives = manifest.layers.flatMap(({ digest }) => {
      const blob = readFileSync(blobPath(folder, digest));
      if (contentDigest(blob) !== digest) return [];
      try {
        return [blob[0] === 0x1f ? gunzipSync(blob) : blob];
      } catch {
        return [];
      }
    });
    await using fresh = await newRepository();
    const good = writeLayout(
      join(work, `good-${count++}`),
      "good",
      archives.slice(0, 1).map((tar) => ({ tar, compression: "none" as const })),
    );
    const expected = await pull(fresh, good.reference, { tag: "good" }).catch(() => undefined);
    if (expected === undefined) return skip("its lowest layer makes no image by itself");
    const result = await pull(repository, good.reference, { tag: "good" });
    expect(result.images).toEqual(expected.images);
    expect(result.stats.importedLayers).toBe(1);
    expect(auditRepository(repository.path)).toMatchObject({ problems: [], temporary: [], tags: ["good"] });
    return undefined;
  });

  it("with altered content imports once its blob is right", async () => {
    const bad = unpackLayout("m08-blobdigest.tar", join(work, `bad-${count++}`));
    const good = unpackLayout("m18-configdigest.tar", join(work, `good-${count++}`));
    await using repository = await newRepository();
    expect((await refusal(repository, `oci:${bad}`)).code).toBe("digest-mismatch");
    expect((await refusal(repository, `oci:${good}`)).code).toBe("digest-mismatch");
    // Each layout has damaged what the other has whole, and they are one image.
    const { manifest } = manifestOf(good);
    writeFileSync(blobPath(good, manifest.config.digest), readFileSync(blobPath(bad, manifest.config.digest)));
    const { stats } = await pull(repository, `oci:${good}`, { tag: "good", platform });
    expect(stats.importedLayers).toBe(2);
    expect(auditRepository(repository.path)).toMatchObject({ problems: [], tags: ["good"] });
  });
});

describe("wrong input", () => {
  it("no such directory", async () => {
    await using repository = await newRepository();
    expect(await refusal(repository, `oci:${work}/nowhere:v1`)).toMatchObject({
      code: "not-found",
      message: expect.stringContaining(`${work}/nowhere`),
      hint: expect.stringContaining("oci:DIR"),
    });
  });

  it("a directory that is no layout, and a file", async () => {
    await using repository = await newRepository();
    mkdirSync(join(work, "plain"));
    expect((await refusal(repository, `oci:${work}/plain`)).message).toMatch(
      /plain is no OCI layout: it has no index.json/,
    );
    writeFileSync(join(work, "image.tar"), "x");
    expect((await refusal(repository, `oci:${work}/image.tar`)).hint).toContain("oci-archive:");
  });

  it("an unknown tag, with the names that could be meant", async () => {
    await using repository = await newRepository();
    const layout = copyOf("09-multiarch-flat");
    const error = await refusal(repository, `oci:${layout}:v3`);
    expect(error).toMatchObject({ code: "not-found", message: expect.stringContaining('"v3"') });
    expect(error.hint).toMatch(/did you mean v1, v2\?/);
    expect((await refusal(repository, `oci:${layout}:completely-else`)).hint).toBe("it has big, v1, v2");
  });

  it("no tag where there are several images, and where one serves the platform only", async () => {
    await using repository = await newRepository();
    const layout = copyOf("09-multiarch-flat");
    expect((await refusal(repository, `oci:${layout}`)).message).toMatch(/holds several images: v1, v2/);
    const { manifestDigest } = await pull(repository, `oci:${layout}`, {
      tag: "t",
      platform: parsePlatform("linux/s390x"),
    });
    expect(manifestDigest).toMatch(/^sha256:3ac2b47d/);
  });

  it("a platform that is not there", async () => {
    await using repository = await newRepository();
    const error = await refusal(repository, `oci:${copyOf("10-multiarch-nested")}`, {
      platform: parsePlatform("linux/riscv64"),
    });
    expect(error.message).toContain("linux/riscv64");
    expect(error.message).toContain("linux/arm64/v8, linux/amd64, linux/ppc64le");
    expect(error.hint).toContain("--platform");
  });

  const kinds = ["manifest", "config", "layer"] as const;
  const digestIn = (layout: string, kind: (typeof kinds)[number]): string => {
    const { digest, manifest } = manifestOf(layout);
    return kind === "manifest"
      ? digest
      : kind === "config"
        ? manifest.config.digest
        : (manifest.layers[0]?.digest ?? "");
  };

  it.each(kinds)("a missing %s", async (kind) => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const digest = digestIn(layout, kind);
    rmSync(blobPath(layout, digest));
    const error = await refusal(repository, `oci:${layout}`);
    expect(error).toMatchObject({ code: "not-found", digest, message: expect.stringContaining(digest) });
    expect(error.hint).toBeTruthy();
  });

  it.each(kinds)("a truncated %s", async (kind) => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const digest = digestIn(layout, kind);
    const path = blobPath(layout, digest);
    writeFileSync(path, readFileSync(path).subarray(0, 100));
    const error = await refusal(repository, `oci:${layout}`);
    expect(error).toMatchObject({ code: "digest-mismatch", digest, message: expect.stringContaining("100 bytes") });
    expect(error.hint).toBeTruthy();
  });

  it.each(kinds)("a %s with one bit changed", async (kind) => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const digest = digestIn(layout, kind);
    const bytes = readFileSync(blobPath(layout, digest));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(blobPath(layout, digest), bytes);
    const error = await refusal(repository, `oci:${layout}`);
    // The last byte of a gzip member is its length, which is checked as well.
    expect(["digest-mismatch", "invalid"]).toContain(error.code);
    expect(error.message).toContain(kind === "layer" ? "layer 1 of 1" : digest);
  });

  it("a blob that is a directory or a pipe instead of a file", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const digest = digestIn(layout, "layer");
    rmSync(blobPath(layout, digest));
    mkdirSync(blobPath(layout, digest));
    expect((await refusal(repository, `oci:${layout}`)).message).toContain(digest);
    rmSync(blobPath(layout, digest), { recursive: true });
    symlinkSync("/dev/zero", blobPath(layout, digest));
    expect(await refusal(repository, `oci:${layout}`)).toMatchObject({ code: "invalid", digest });
  });

  it.each([
    ["not JSON", "{", /not valid JSON/],
    ["a byte order mark", '\ufeff{"schemaVersion":2,"manifests":[]}', /byte order mark/],
    ["no manifests", '{"schemaVersion":2}', /manifests: is missing/],
    ["no schemaVersion", '{"manifests":[]}', /schemaVersion: is missing/],
    ["a key twice", '{"schemaVersion":2,"manifests":[],"manifests":[]}', /"manifests" twice/],
    ["a hidden key twice", '{"schemaVersion":2,"manifests":[],"m\\u0061nifests":[]}', /"manifests" twice/],
    ["an empty list", '{"schemaVersion":2,"manifests":[]}', /lists no manifests/],
    ["a bad digest", '{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:../..","size":1}]}', /digest/],
    [
      "a bad size",
      `{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:${"0".repeat(64)}","size":-1}]}`,
      /size/,
    ],
    ["deep nesting", "[".repeat(1000), /nested more than 128/],
  ])("an index.json with %s", async (_what, text, message) => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    writeFileSync(join(layout, "index.json"), text);
    const error = await refusal(repository, `oci:${layout}`);
    expect(error.message).toMatch(message);
    expect(error.message).toContain("index.json");
  });

  it("an index of nothing known names the types", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const entry = { mediaType: "application/x-nothing", digest: `sha256:${"0".repeat(64)}`, size: 1 };
    writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    expect((await refusal(repository, `oci:${layout}`)).message).toContain("application/x-nothing");
  });

  it("an image layer of unknown type, and a digest of an unknown algorithm", async () => {
    await using repository = await newRepository();
    const layout = writeLayout(join(work, `odd-${count++}`), "t", [{ tar: new Uint8Array(1024), compression: "none" }]);
    const folder = layout.reference.slice(4, -2);
    rewriteManifest(folder, (text) => text.replace("layer.v1.tar", "layer.v9.cpio"));
    expect(await refusal(repository, `oci:${folder}`)).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("layer.v9.cpio"),
    });
    rewriteManifest(folder, (text) =>
      text.replace("layer.v9.cpio", "layer.v1.tar").replace(/(tar","digest":")sha256:/, "$1blake9:"),
    );
    expect(await refusal(repository, `oci:${folder}`)).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("blake9:"),
    });
  });

  it.each(["", "@x", ".", "..", "x".repeat(256), "/".repeat(86)])(
    "the tag %j is refused before anything is read",
    async (tag) => {
      await using repository = await newRepository();
      const error = await refusal(repository, `oci:${work}/nowhere`, { tag });
      expect(error).toMatchObject({ code: "invalid" });
      expect(error.message).toContain("cannot be a tag");
    },
  );

  it.each([{ jobs: 0 }, { jobs: 1.5 }, { jobs: -1 }, { formats: [] }])("options %j", async (options) => {
    await using repository = await newRepository();
    expect((await refusal(repository, `oci:${copyOf("01-basic")}`, options)).code).toBe("usage");
  });

  it("a repository that is open for reading only, before the source is looked at", async () => {
    const made = await newRepository();
    await made.close();
    await using repository = await Repository.open(made.path, { write: false });
    expect((await refusal(repository, `oci:${work}/nowhere`)).code).toBe("read-only");
  });

  it.runIf(process.getuid?.() !== 0)("a repository that cannot be written", async () => {
    const repository = await newRepository();
    await repository.close();
    chmodSync(repository.path, 0o500);
    await expect(Repository.open(repository.path, { write: true })).rejects.toMatchObject({ code: "permission" });
    chmodSync(repository.path, 0o700);
  });

  it("an aborted pull stops with `aborted` and publishes nothing", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const stop = new AbortController();
    const onProgress = (event: ProgressEvent) => {
      if (event.type === "start" && event.kind === "layer") stop.abort();
    };
    const error = await refusal(repository, `oci:${layout}`, { signal: stop.signal, onProgress });
    expect(error.code).toBe("aborted");
    expect((await pull(repository, `oci:${layout}`, { tag: "t", platform })).images).toHaveLength(1);
  });
});

describe("progress", () => {
  it("tells of every layer, the config and the image, from start to end", async () => {
    await using repository = await newRepository();
    const events: ProgressEvent[] = [];
    const options = { tag: "t", platform, onProgress: (event: ProgressEvent) => void events.push(event) };
    const reference = `oci:${copyOf("03-hardlinks")}`;
    await pull(repository, reference, options);
    const started = events.flatMap((event) => (event.type === "start" ? [event.id] : []));
    const ended = events.flatMap((event) => (event.type === "done" ? [event.id] : []));
    expect(started).toHaveLength(5);
    expect(new Set(ended)).toEqual(new Set(started));
    for (const { type, ...event } of events) {
      if (type !== "advance" || !("done" in event)) continue;
      expect(event.done).toBeLessThanOrEqual(event.total ?? 0);
    }
    events.length = 0;
    await pull(repository, reference, options);
    expect(events.filter((event) => event.type === "done")).toEqual(
      Array.from({ length: 4 }, () => expect.objectContaining({ skipped: true })),
    );
  });
});

describe("forgiven input", () => {
  it("a media type that names another compression is noted", async () => {
    await using repository = await newRepository();
    const layout = writeLayout(join(work, `mixed-${count++}`), "t", [{ tar: usrTar(), compression: "gzip" }]);
    const folder = layout.reference.slice("oci:".length, -":t".length);
    rewriteManifest(folder, (text) => text.replace("tar+gzip", "tar+zstd"));
    const notes: string[] = [];
    const onProgress = (event: ProgressEvent) => {
      if (event.type === "note") notes.push(event.message);
    };
    await pull(repository, `oci:${folder}`, { tag: "t", onProgress });
    expect(notes).toEqual([expect.stringContaining("tar+zstd, its compression is: gzip")]);
  });

  it("a layer named by its sha512", async () => {
    await using repository = await newRepository();
    const tar = usrTar();
    const layout = writeLayout(join(work, `sha512-${count++}`), "t", [{ tar, compression: "gzip" }]);
    const folder = layout.reference.slice("oci:".length, -":t".length);
    const diffId = contentDigest(tar, "sha512");
    const { manifest } = manifestOf(folder);
    const config = Buffer.from(
      readFileSync(blobPath(folder, manifest.config.digest), "utf8").replace(layout.diffIds[0] ?? "", diffId),
    );
    writeFileSync(blobPath(folder, contentDigest(config)), config);
    rewriteManifest(folder, (text) =>
      text
        .replace(manifest.config.digest, contentDigest(config))
        .replace(`"size":${manifest.config.size}`, `"size":${config.length}`),
    );
    await pull(repository, `oci:${folder}`, { tag: "t" });
    expect(repository.stream(`oci-layer-${diffId}`)).toBeDefined();
  });

  it("a missing or odd oci-layout file is a warning", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    rmSync(join(layout, "oci-layout"));
    const warnings: string[] = [];
    const onProgress = (event: ProgressEvent) => {
      if (event.type === "warning") warnings.push(event.message);
    };
    await pull(repository, `oci:${layout}`, { tag: "t", platform, onProgress });
    writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"9.9.9"}');
    await pull(repository, `oci:${layout}`, { tag: "t", platform, onProgress });
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain("oci-layout is missing");
  });

  it("blobs that are links into a cache are read", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const cache = join(work, `cache-${count++}`);
    mkdirSync(cache);
    for (const name of readdirSync(join(layout, "blobs/sha256"))) {
      const path = join(layout, "blobs/sha256", name);
      writeFileSync(join(cache, name), readFileSync(path));
      rmSync(path);
      symlinkSync(join(cache, name), path);
    }
    expect((await pull(repository, `oci:${layout}`, { tag: "t", platform })).images).toHaveLength(1);
  });

  it("tags with colons and slashes after a path that is a layout", async () => {
    await using repository = await newRepository();
    const layout = copyOf("01-basic");
    const path = join(layout, "index.json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"latest"', '"localhost/os:1"'));
    const { tag } = await pull(repository, `oci:${layout}:localhost/os:1`, { platform });
    expect(tag).toBe(`oci:${layout}:localhost/os:1`);
  });

  it("manifests and indexes without a media type of their own, and Docker's manifest list", async () => {
    await using repository = await newRepository();
    const layout = copyOf("10-multiarch-nested");
    const path = join(layout, "index.json");
    writeFileSync(
      path,
      readFileSync(path, "utf8").replace(
        '"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json"',
        '"manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"',
      ),
    );
    const { manifestDigest } = await pull(repository, `oci:${layout}`, { tag: "t", platform });
    expect(manifestDigest).toMatch(/^sha256:16ab5b61/);
  });
});
