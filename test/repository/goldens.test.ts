// goldens/repository: repositories that the reference made, opened and read by us.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/bytes/hex.ts";
import { readSplitstream } from "../../src/splitstream/read.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";
import type { ContentType } from "../../src/splitstream/content-type.ts";
import { Repository } from "../../src/repository/repository.ts";
import { serializeMeta } from "../../src/repository/meta.ts";
import { goldenRepositories, unpackRepository } from "./golden-repository.ts";

for (const [tar, golden] of goldenRepositories())
  describe(tar, () => {
    let root = "";
    let remove: () => void;
    let repository: Repository;
    const algorithm = golden.algorithm === "fsverity-sha256-12" ? "sha256" : "sha512";

    beforeAll(async () => {
      ({ path: root, remove } = unpackRepository(tar));
      repository = await Repository.open(root);
    });
    afterAll(async () => {
      await repository.close();
      remove();
    });

    test("opens with the recorded algorithm; reading writes nothing", () => {
      expect(repository.algorithm).toBe(algorithm);
      expect(repository.secure).toBe(false);
      const legacy = golden.meta_json_after_auto_upgrade;
      expect(repository.hasMeta).toBe(legacy === undefined);
      expect(existsSync(join(root, "meta.json"))).toBe(legacy === undefined);
      if (legacy) expect(JSON.parse(serializeMeta(repository.meta))).toEqual(legacy);
    });

    test.runIf(golden.meta_json_after_auto_upgrade === undefined)("meta.json is written exactly as it is read", () => {
      const text = readFileSync(join(root, "meta.json"), "utf8");
      // One of them was edited by hand: only the formatting of that one differs.
      expect(JSON.parse(serializeMeta(repository.meta))).toEqual(JSON.parse(text));
      if (text.startsWith('{\n  "version": 1')) expect(serializeMeta(repository.meta)).toBe(text);
    });

    test("holds the recorded streams", () => {
      const names = readdirSync(join(root, "streams")).filter((name) => name !== "refs");
      expect(names.toSorted()).toEqual(Object.keys(golden.streams).toSorted());
      expect(names.length).toBeGreaterThan(0);
    });

    for (const [name, expected] of Object.entries(golden.streams)) {
      test(`decodes ${name}`, async () => {
        expect(repository.stream(name)).toBe(expected.object_id);
        const stream = await repository.openStream(name);
        expect(stream.layout).toBe(expected.header_layout);
        expect(stream.contentType).toBe(expected.content_type);
        expect(stream.size).toBe(BigInt(expected.stream_size));
        expect(stream.fileSize).toBe(expected.file_size);
        expect(stream.objectRefs).toEqual(expected.object_refs);
        expect(stream.streamRefs).toEqual(expected.stream_refs);
        expect(Object.fromEntries(stream.namedRefs)).toEqual(expected.named_refs);
        expect(await chunkList(stream)).toEqual(expected.chunks);
      });

      test(`reconstructs ${name}`, async () => {
        expect(await sha256OfCat(repository, name)).toBe(expected.cat_sha256);
        // By the id of its object too.
        expect(await sha256OfCat(repository, expected.object_id)).toBe(expected.cat_sha256);
      });

      test(`decodes and encodes ${name} to an equal stream`, async () => {
        const stream = await repository.openStream(name);
        const writer = new SplitstreamWriter(algorithm, expected.content_type as ContentType);
        // Names in the order of their rows: that is how the tables of the reference come about.
        const rows = new Map(stream.streamRefs.map((id, index) => [id, index]));
        const names = [...stream.namedRefs].toSorted(([, a], [, b]) => (rows.get(a) ?? 0) - (rows.get(b) ?? 0));
        for (const [ref, id] of names) writer.namedRef(ref, id);
        for await (const chunk of stream.chunks())
          if (chunk.kind === "inline") writer.inline(chunk.bytes);
          else writer.external(chunk.id, (await repository.readObject(chunk.id)).length);
        const file = writer.finish();
        const again = await readSplitstream(file, algorithm);
        expect(again.layout).toBe("new");
        expect(again.size).toBe(stream.size);
        expect(again.objectRefs).toEqual(stream.objectRefs);
        expect(again.streamRefs).toEqual(stream.streamRefs);
        expect([...again.namedRefs]).toEqual([...stream.namedRefs].toSorted(([a], [b]) => (a < b ? -1 : 1)));
        expect(await chunkList(again)).toEqual(expected.chunks);
        // Tables and header must even be equal byte by byte; only the compressed sections may differ.
        if (expected.header_layout === "new") {
          const original = await repository.readObject(expected.object_id);
          const tables =
            112 + (stream.objectRefs.length + stream.streamRefs.length) * (algorithm === "sha256" ? 32 : 64);
          const fixed = (bytes: Uint8Array) =>
            [bytes.subarray(0, 64), bytes.subarray(80, 88), bytes.subarray(96, tables)].map((part) => toHex(part));
          expect(fixed(file)).toEqual(fixed(original));
        }
      });
    }

    test("lists the recorded refs, and `cat` goes through them", async () => {
      const basename = (target: string) => target.slice(target.lastIndexOf("/") + 1);
      for (const [category, refs] of [
        ["streams", golden.stream_refs],
        ["images", golden.image_refs],
      ] as const)
        expect(repository.refs(category)).toEqual(
          Object.entries(refs)
            .map(([name, target]) => ({ name, target: basename(target) }))
            .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
        );
      for (const [name, hash] of Object.entries(golden.cat_refs_sha256))
        expect(await sha256OfCat(repository, `refs/${name}`)).toBe(hash);
    });

    test("resolves the recorded images by every spelling", () => {
      const images = Object.keys(golden.images);
      for (const id of images)
        for (const name of [id, `${algorithm}:${id}`, id.slice(0, 12)])
          expect(repository.resolveImage(name)).toEqual({ entry: id, id });
      for (const [name, target] of Object.entries(golden.image_refs))
        for (const spelling of [name, `refs/${name}`])
          expect(repository.resolveImage(spelling).id).toBe(target.slice(target.lastIndexOf("/") + 1));
    });

    test("is read-only exactly without meta.json", async () => {
      const put = repository.putObject(Buffer.from("x"));
      if (golden.meta_json_after_auto_upgrade) await expect(put).rejects.toMatchObject({ code: "read-only" });
      else expect((await put).created).toBe(true);
    });
  });

test("a repository without meta.json is upgraded by init --ensure, and only by that", async () => {
  const legacy = goldenRepositories().find(([, golden]) => golden.meta_json_after_auto_upgrade);
  if (!legacy) throw new Error("no golden repository without meta.json");
  const { path, remove } = unpackRepository(legacy[0]);
  try {
    await expect(Repository.open(path, { noUpgrade: true })).rejects.toMatchObject({ code: "not-a-repository" });
    await expect(Repository.init(path, { insecure: true, algorithm: "sha256" })).rejects.toMatchObject({
      code: "exists",
    });
    expect(existsSync(join(path, "meta.json"))).toBe(false);
    const result = await Repository.init(path, { ensure: true });
    expect(result).toMatchObject({ state: "upgraded", algorithm: "sha512", secure: false });
    expect(JSON.parse(readFileSync(join(path, "meta.json"), "utf8"))).toEqual(legacy[1].meta_json_after_auto_upgrade);
    expect((await Repository.init(path, { ensure: true })).state).toBe("preserved");
    await using repository = await Repository.open(path, { write: true, noUpgrade: true });
    expect(repository.formats).toEqual([1]);
    rmSync(join(path, "meta.json"));
  } finally {
    remove();
  }
});

async function chunkList(
  stream: Awaited<ReturnType<typeof readSplitstream>>,
): Promise<["inline" | "external", number][]> {
  const list: ["inline" | "external", number][] = [];
  for await (const chunk of stream.chunks()) {
    const last = list.at(-1);
    if (chunk.kind === "external") list.push(["external", stream.objectRefs.indexOf(chunk.id)]);
    else if (last?.[0] === "inline") last[1] += chunk.bytes.length;
    else list.push(["inline", chunk.bytes.length]);
  }
  return list;
}

async function sha256OfCat(repository: Repository, name: string): Promise<string> {
  const hash = createHash("sha256");
  await repository.cat(name, (bytes) => void hash.update(bytes));
  return hash.digest("hex");
}
