// Pulls that fetch of a layer only what the repository has not (docs/spec/oci.md, section 4.7): the result is always that of a whole
// fetch, whatever the table of contents says, and the registry counts what it sent.

import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { ProgressEvent } from "../../../src/progress.ts";
import { pull } from "../../../src/oci/pull.ts";
import type { PullResult } from "../../../src/oci/pull-options.ts";
import type { RegistryOptions } from "../../../src/oci/registry/requests.ts";
import { layerStream } from "../../../src/oci/streams.ts";
import { contentDigest } from "../../../src/oci/digest.ts";
import { Repository } from "../../../src/repository/repository.ts";
import {
  estargz,
  zstdChunked,
  type ChunkedLayer,
  type ChunkedOptions,
  type SplitLine,
  type TocFile,
} from "../../fixtures/chunked.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../../fixtures/random.ts";
import { fail, TestRegistry } from "../../fixtures/registry.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { tar, type TarEntry } from "../../fixtures/tar.ts";

const FAST: RegistryOptions = { tlsVerify: false, retryUnit: 1, timeouts: { head: 2000, idle: 1000 } };
const HOME = ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "HOME"];

/** An image of large and small files; of the newer one some are others, and all have another time. */
function files(version: number): TarEntry[] {
  const mtime = version;
  // The content of a file that changes with the version, and of one that does not.
  const content = (path: string, size: number, changes = false): TarEntry => {
    const seed = Buffer.from(path).reduce((sum, byte) => (sum * 31 + byte) % 1_000_000, changes ? version : 0);
    return { path, content: randomBytes(seededRandom(seed), size), mtime };
  };
  const entries: TarEntry[] = [{ path: "usr", type: "directory", mtime }];
  for (let i = 0; i < 4; i++) {
    entries.push(content(`usr/large-${i}`, 300_000 + i, i === 1));
    entries.push({ path: `usr/link-${i}`, type: "symlink", target: `large-${i}`, mtime });
    entries.push({ path: `usr/empty-${i}`, mtime });
  }
  for (let i = 0; i < 14; i++) entries.push(content(`usr/small-${i}`, 1 + ((i * 37) % 1500), i % 10 === 7));
  entries.push(content("usr/last", 300_000));
  entries.push(content(`usr/new-${version}`, 70_000));
  return entries;
}

const older = files(1);
const newer = files(2);

type Make = (entries: TarEntry[], options?: ChunkedOptions) => ChunkedLayer;
const stargz: Make = (entries, options) =>
  estargz(
    tar(entries).subarray(0, -1024),
    (table) => tar([...entries, { path: "stargz.index.json", content: table }]),
    options,
  );
const KINDS: [name: string, make: Make][] = [
  ["zstd:chunked with tar-split data", (entries, options) => zstdChunked(tar(entries), options)],
  ["zstd:chunked", (entries, options) => zstdChunked(tar(entries), { ...options, tarSplit: false })],
  ["eStargz", stargz],
];

let work: string;
let count = 0;
let saved: Record<string, string | undefined>;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-chunked-"));
  saved = Object.fromEntries(HOME.map((name) => [name, process.env[name]]));
  for (const name of HOME) delete process.env[name];
  process.env["HOME"] = process.env["XDG_RUNTIME_DIR"] = work;
});
afterAll(() => {
  for (const name of HOME) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
  rmSync(work, { recursive: true, force: true });
});

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

function layout(layer: ChunkedLayer): string {
  const folder = join(work, `image-${count++}`);
  const { blob, annotations } = layer;
  const compression = blob[0] === 0x1f ? "gzip" : "zstd";
  writeLayout(folder, "v1", [{ tar: layer.tar, compression, blob, annotations }]);
  return folder;
}

/** A repository that has the older image, out of a plain layer. */
async function withOlder(): Promise<Repository> {
  const made = join(work, "with-older");
  if (!existsSync(made)) {
    const { reference } = writeLayout(join(work, "older"), "v0", [{ tar: tar(older), compression: "none" }]);
    await Repository.init(made, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(made, { write: true, durability: "none" });
    await pull(repository, reference, { tag: "older" });
  }
  const path = join(work, `repository-${count++}`);
  cpSync(made, path, { recursive: true, verbatimSymlinks: true });
  return Repository.open(path, { write: true, durability: "none" });
}

interface Update {
  result: PullResult;
  notes: string[];
  sent: number;
  requests: number;
  stream: string | undefined;
  problems: unknown;
}

/** Pulls the layer into a repository that has the older image. */
async function update(
  layer: ChunkedLayer,
  options: {
    wholeLayers?: boolean;
    keepCompressed?: boolean;
    prepare?: (registry: TestRegistry) => void;
    from?: Repository;
  } = {},
): Promise<Update> {
  await using registry = await TestRegistry.start();
  registry.load(layout(layer));
  options.prepare?.(registry);
  await using repository = options.from ?? (await withOlder());
  const notes: string[] = [];
  const result = await pull(repository, `docker://${registry.host}/p/os:v1`, {
    tag: "newer",
    registry: FAST,
    wholeLayers: options.wholeLayers,
    keepCompressed: options.keepCompressed,
    onProgress: (event: ProgressEvent) => void (event.type === "note" && notes.push(event.message)),
  });
  const done: Update = {
    result,
    notes,
    sent: registry.sentBytes,
    requests: registry.requests.filter(({ url }) => url.includes("/blobs/")).length - 1,
    stream: repository.stream(layerStream(contentDigest(layer.tar))),
    problems: auditRepository(repository.path).problems,
  };
  rmSync(repository.path, { recursive: true });
  return done;
}

describe.each(KINDS)("%s", (kind, make) => {
  const layer = make(newer);
  let whole: Update;
  beforeAll(async () => {
    whole = await update(layer, { wholeLayers: true });
    expect(whole.problems).toEqual([]);
  });

  /** What a pull must give, whatever way it took. */
  function expectSame(found: Update, expected = whole): void {
    expect(found.problems).toEqual([]);
    expect(found.stream).toBe(expected.stream);
    expect(found.result.images).toEqual(expected.result.images);
    const { sparedBytes: _, ...stats } = found.result.stats;
    expect(stats).toEqual({ ...expected.result.stats, sparedBytes: undefined });
  }

  it("is fetched whole when that is asked for", () => {
    expect(whole.sent).toBeGreaterThanOrEqual(layer.blob.length);
    expect(whole.requests).toBe(1);
    expect(whole.result.stats.sparedBytes).toBe(0);
  });

  it("is fetched without the files that are there", async () => {
    const parts = await update(layer);
    expectSame(parts);
    expect(parts.notes).toEqual([]);
    const { sparedBytes } = parts.result.stats;
    // Three large files and the last one.
    expect(sparedBytes).toBeGreaterThan(1_050_000);
    expect(parts.sent).toBeLessThan(whole.sent - 1_050_000);
    // The config is a blob too.
    expect(sparedBytes).toBe(whole.sent - parts.sent);
    expect(parts.requests).toBeLessThan(10);
  });

  it("is fetched whole into an empty repository, and nothing else is asked for", async () => {
    const fresh = await update(layer, { from: await newRepository() });
    expect(fresh.stream).toBe(whole.stream);
    expect(fresh.requests).toBe(1);
  });

  it("is fetched whole when its blob is to be kept", async () => {
    const found = await update(layer, { keepCompressed: true });
    expect(found.stream).toBe(whole.stream);
    expect(found.problems).toEqual([]);
    expect(found.result.stats.sparedBytes).toBe(0);
    expect(found.requests).toBe(1);
  });

  it("is fetched whole from a registry that sends no parts", async () => {
    const found = await update(layer, {
      prepare: (registry) => {
        registry.misbehave = (request, response) => {
          if (request.range === undefined) return false;
          registry.serve({ ...request, range: undefined }, response);
          return true;
        };
      },
    });
    expectSame(found);
    expect(found.notes.join()).toContain("does not send parts of it");
    expect(found.result.stats.sparedBytes).toBe(0);
  });

  it.each([200, 404, 416, 403])("is fetched whole when a later part is answered with %d", async (status) => {
    let seen = 0;
    const found = await update(layer, {
      prepare: (registry) => {
        registry.misbehave = ({ range }, response) => {
          if (range === undefined || ++seen < 4) return false;
          fail(response, status, "NO", "no");
          return true;
        };
      },
    });
    expectSame(found);
    expect(found.notes).toHaveLength(1);
  });

  it("goes on where a part was cut", async () => {
    const cut = new Set<string>();
    const found = await update(layer, {
      prepare: (registry) => {
        registry.misbehave = ({ url, range }, response) => {
          const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
          const length = Number(to) - Number(from) + 1;
          if (to === undefined || length < 1000 || cut.has(to)) return false;
          cut.add(to);
          const blob = registry.blobs.get(url.split("/").at(-1) ?? "") as Buffer;
          response.writeHead(206, { "content-length": length, "content-range": `bytes ${from}-${to}/${blob.length}` });
          response.write(blob.subarray(Number(from), Number(from) + 500), () => response.destroy());
          return true;
        };
      },
    });
    expectSame(found);
    expect(found.notes.filter((note) => note.includes("fetched whole"))).toEqual([]);
    expect(found.result.stats.sparedBytes).toBeGreaterThan(1_050_000);
    expect(cut.size).toBeGreaterThan(1);
  });

  it("whose parts are damaged is fetched whole", async () => {
    const found = await update(layer, {
      prepare: (registry) => {
        registry.misbehave = (request, response) => {
          const digest = request.url.split("/").at(-1) ?? "";
          const [, from = "0", to] = /^bytes=(\d+)-(\d+)$/.exec(request.range ?? "") ?? [];
          if (to === undefined) return false;
          const blob = Buffer.from(registry.blobs.get(digest) as Buffer).subarray(Number(from), Number(to) + 1);
          blob[blob.length >> 1] = (blob[blob.length >> 1] as number) ^ 1;
          const total = (registry.blobs.get(digest) as Buffer).length;
          response.writeHead(206, {
            "content-length": blob.length,
            "content-range": `bytes ${from}-${to}/${total}`,
          });
          response.end(blob);
          return true;
        };
      },
    });
    expectSame(found);
    expect(found.notes.join()).toContain("fetched whole");
  });

  const at = (entries: TocFile[], name: string): TocFile => entries.find((file) => file.name === name) as TocFile;
  const LIES: [what: string, lie: (entries: TocFile[]) => TocFile[]][] = [
    ["no files", () => []],
    ["one file left out", (entries) => entries.filter(({ name }) => name !== "usr/large-2")],
    ["two files the other way round", ([a, b, ...rest]) => [b as TocFile, a as TocFile, ...rest]],
    [
      "the digest of another file",
      (entries) => {
        at(entries, "usr/large-1").digest = at(entries, "usr/large-2").digest as string;
        return entries;
      },
    ],
    [
      "the digest and the size of another file that is there",
      (entries) => {
        const { digest, size } = at(entries, "usr/large-2");
        Object.assign(at(entries, "usr/large-1"), { digest, size });
        return entries;
      },
    ],
    [
      "the digest of a file that is there exchanged with another's, with their sizes",
      (entries) => {
        const [a, b] = [at(entries, "usr/large-0"), at(entries, "usr/large-2")];
        [a.digest, a.size, b.digest, b.size] = [
          b.digest as string,
          b.size as number,
          a.digest as string,
          a.size as number,
        ];
        return entries;
      },
    ],
    [
      "offsets that are one too high",
      (entries) => entries.map((file) => ({ ...file, offset: (file.offset ?? 0) + 1 })),
    ],
    ["offsets that are one too low", (entries) => entries.map((file) => ({ ...file, offset: (file.offset ?? 0) - 1 }))],
    [
      "the offset of the file before",
      (entries) => {
        at(entries, "usr/large-2").offset = at(entries, "usr/large-1").offset as number;
        return entries;
      },
    ],
    [
      "an end behind the blob",
      (entries) => [...entries.slice(0, -1), { ...(entries.at(-1) as TocFile), endOffset: 1e12, offset: 1e11 }],
    ],
    [
      "an end before its offset",
      (entries) => [{ ...(entries[0] as TocFile), endOffset: 1, offset: 1e9 }, ...entries.slice(1)],
    ],
    ["numbers that are none", (entries) => entries.map((file) => ({ ...file, offset: "7" as unknown as number }))],
    ["huge sizes", (entries) => entries.map((file) => ({ ...file, size: Number.MAX_SAFE_INTEGER }))],
    ["negative sizes", (entries) => entries.map((file) => ({ ...file, size: -5 }))],
    ["digests that are none", (entries) => entries.map((file) => ({ ...file, digest: "sha256:x" }))],
    ["a chunk of no file", (entries) => [{ type: "chunk", name: "x", offset: 1 }, ...entries]],
    ["files that share members", (entries) => entries.map((file) => ({ ...file, innerOffset: 5 }))],
    ["entries that are none", () => [null, 5, "x", []] as unknown as TocFile[]],
    [
      "a hundred thousand files in one place",
      (entries) => Array.from({ length: 100_000 }, () => at(entries, "usr/large-0")),
    ],
  ];
  it.each(LIES)("a table with %s changes nothing", async (what, lie) => {
    const lying = make(newer, { lie });
    // The blob of an eStargz layer is another one with another table, which is a file in it.
    const expected = kind === "eStargz" ? await update(lying, { wholeLayers: true }) : whole;
    const found = await update(lying);
    expectSame(found, expected);
    if (what.includes("that is there")) expect(found.notes.join()).toContain("is fetched whole");
  });

  it.each([
    ["no JSON", "{"],
    ["no table", "[]"],
    ["nothing", ""],
    ["another version", '{"version":2,"entries":[]}'],
    ["deep nesting", "[".repeat(200_000)],
  ])("a table that is %s changes nothing", async (_, text) => {
    const lying = make(newer, { text });
    const expected = kind === "eStargz" ? await update(lying, { wholeLayers: true }) : whole;
    const found = await update(lying);
    expectSame(found, expected);
    expect(found.result.stats.sparedBytes).toBe(0);
  });

  it.each([
    ["digest", /checksum|digest/, `sha256:${"0".repeat(64)}`],
    ["position", /manifest-position/, "9:100:100:1"],
    ["position behind the end", /manifest-position/, "99999999999:100:100:1"],
    ["length", /manifest-position/, "9:1:1000000000000:1"],
    ["position that is none", /position/, "a:b:c:d"],
    ["tar-split position", /tarsplit-position/, "9:100:100"],
  ])("an annotation with a wrong %s changes nothing", async (_, key, value) => {
    const annotations = Object.fromEntries(
      Object.entries(layer.annotations).map(([name, old]) => [name, key.test(name) ? value : old]),
    );
    expectSame(await update({ ...layer, annotations }));
  });
});

describe("tar-split data", () => {
  it("is used whichever of its digests the table has", async () => {
    const [one, other] = [
      await update(zstdChunked(tar(newer))),
      await update(zstdChunked(tar(newer), { decodedDigest: true })),
    ];
    expect(other.stream).toBe(one.stream);
    // Without it the headers between the files are fetched, too.
    expect(Math.abs(other.sent - one.sent)).toBeLessThan(100);
    expect(other.problems).toEqual([]);
  });

  const content = (lines: SplitLine[]): SplitLine[] => lines.filter(({ type, size = 0 }) => type === 1 && size > 0);
  it.each<[string, (lines: SplitLine[]) => unknown[]]>([
    ["no lines", () => []],
    [
      "another size",
      (lines) => {
        (content(lines)[0] as SplitLine).size = 5;
        return lines;
      },
    ],
    ["a file too many", (lines) => [...lines, { type: 1, name: "x", size: 100 }]],
    ["a file too few", (lines) => lines.filter((line) => line !== content(lines)[3])],
    [
      "another header",
      (lines) => {
        const [first] = lines as [SplitLine];
        first.payload = Buffer.from(first.payload ?? "", "base64")
          .fill(0, 0, 1)
          .toString("base64");
        return lines;
      },
    ],
    [
      "a wrong mode, with a right checksum",
      (lines) => {
        const [first] = lines as [SplitLine];
        const header = Buffer.from(first.payload ?? "", "base64");
        [header[104], header[105]] = [header[105] as number, header[104] as number];
        first.payload = header.toString("base64");
        return lines;
      },
    ],
    ["a line of another type", (lines) => [{ type: 9 }, ...lines]],
    ["a line that is no object", (lines) => [7, null, ...lines]],
    ["a size that is none", (lines) => [{ type: 1, size: -1 }, ...lines]],
    ["bytes left out at the end", (lines) => lines.slice(0, -1)],
  ])("with %s changes nothing", async (_, lieInTarSplit) => {
    const honest = await update(zstdChunked(tar(newer)), { wholeLayers: true });
    const found = await update(zstdChunked(tar(newer), { lieInTarSplit }));
    expect(found.problems).toEqual([]);
    expect(found.stream).toBe(honest.stream);
    expect(found.result.images).toEqual(honest.result.images);
  });
});
