// Repositories shared with cfsctl: each reads, checks and extends what the other made.

import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { Repository } from "../../src/repository/repository.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";
import { describeWithPeers, runPeer } from "../peer.ts";

const scratch = mkdtempSync(join(tmpdir(), "composefs-peers-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A tar with files around the inline limit and of many blocks, and its splitstream. */
function layer(repository: Repository): { tar: Buffer; writer: SplitstreamWriter; objects: [string, Buffer][] } {
  const writer = new SplitstreamWriter(repository.algorithm, "ocilayer");
  const pieces: Buffer[] = [];
  const objects: [string, Buffer][] = [];
  for (const size of [0, 1, 64, 65, 4096, 70_000, 65]) {
    const content = randomBytes(size);
    const header = tarHeader(`file-${size}-${pieces.length}`, size);
    const padding = Buffer.alloc((512 - (size % 512)) % 512);
    pieces.push(header, content, padding);
    writer.inline(header);
    if (size > 64) {
      const { id } = repository.store.putSync(content);
      objects.push([id, content]);
      writer.external(id, size);
    } else {
      writer.inline(content);
    }
    writer.inline(padding);
  }
  const end = Buffer.alloc(1024);
  writer.inline(end);
  return { tar: Buffer.concat([...pieces, end]), writer, objects };
}

function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0" + "0000000\0".repeat(2), 100);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        0", 148);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

const sha256 = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

describeWithPeers(["cfsctl"], "repositories shared with cfsctl", () => {
  for (const algorithm of ["sha256", "sha512"] as const) {
    const path = join(scratch, algorithm);
    const cfsctl = (...args: string[]) => runPeer("cfsctl", ["--repo", path, ...args]);
    const fsck = () => {
      const run = cfsctl("fsck", "--json");
      expect(run.stderr).toBe("");
      return JSON.parse(run.stdout) as {
        ok: boolean;
        errors: string[];
        streams_checked: number;
        objects_checked: number;
      };
    };
    let made: ReturnType<typeof layer>;
    let contentId = "";

    beforeAll(async () => {
      const result = await Repository.init(path, { algorithm, insecure: true });
      expect(result).toMatchObject({ state: "created", secure: false });
      await using repository = await Repository.open(path, { write: true });
      made = layer(repository);
      contentId = `oci-layer-${sha256(made.tar)}`;
      await repository.putStream(contentId, made.writer);
      repository.setRef("streams", "mine/layer", contentId);
      repository.setRef("streams", `oci/${encodeTag("host/name:v%1")}`, contentId);
    });

    test(`${algorithm}: cfsctl writes the same meta.json`, () => {
      const other = join(scratch, `${algorithm}-theirs`);
      expect(runPeer("cfsctl", ["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, other]).status).toBe(
        0,
      );
      expect(readFileSync(join(path, "meta.json"), "utf8")).toBe(readFileSync(join(other, "meta.json"), "utf8"));
    });

    test(`${algorithm}: cfsctl checks ours and finds nothing wrong`, () => {
      expect(fsck()).toMatchObject({ ok: true, errors: [], streams_checked: 1 });
    });

    test(`${algorithm}: cfsctl reconstructs our stream, by content id and by ref`, () => {
      for (const name of [contentId, "refs/mine/layer"]) {
        const run = runPeer("cfsctl", ["--repo", path, "cat", name]);
        expect(run.status).toBe(0);
        expect(Buffer.byteLength(run.stdout)).toBeGreaterThan(0);
      }
      writeFileSync(join(scratch, "expected.tar"), made.tar);
      expect(runPeer("cfsctl", ["--repo", path, "cat", contentId]).stdout).toBe(
        readFileSync(join(scratch, "expected.tar"), "utf8"),
      );
    });

    test(`${algorithm}: cfsctl would collect exactly what nothing refers to`, async () => {
      const clean = cfsctl("gc", "--dry-run");
      expect(clean.stdout).toContain("Objects: 0 removed (0 bytes)");
      await using repository = await Repository.open(path, { write: true });
      await repository.putObject(Buffer.alloc(100, "garbage"));
      expect(cfsctl("gc", "--dry-run").stdout).toContain("Objects: 1 removed (100 bytes)");
      const digests = new Set(made.objects.map(([id]) => id));
      for (const id of digests) expect(repository.hasObject(id)).toBe(true);
    });

    test(`${algorithm}: both import the same tar to the same objects and the same links`, async () => {
      const theirs = join(scratch, `${algorithm}-theirs`);
      const input = join(scratch, "expected.tar");
      const digest = contentId.slice("oci-layer-".length);
      const run = runPeer("cfsctl", ["--repo", theirs, "oci", "import-layer", digest, "mine/layer"], {
        input: readFileSync(input),
      });
      expect(run.stderr).toBe("");
      expect(run.status).toBe(0);
      await using repository = await Repository.open(theirs, { write: true });
      const [stream, own] = [await repository.openStream(contentId), await Repository.open(path)];
      const mine = await own.openStream(contentId);
      expect(stream.objectRefs).toEqual(mine.objectRefs);
      expect(stream.size).toBe(mine.size);
      let size = 0;
      const hash = createHash("sha256");
      await repository.cat("refs/mine/layer", (bytes) => {
        size += bytes.length;
        hash.update(bytes);
      });
      expect(size).toBe(made.tar.length);
      expect(`sha256:${hash.digest("hex")}`).toBe(digest);
      for (const link of ["streams/refs/mine/layer"])
        expect(readlinkSync(join(path, link))).toBe(readlinkSync(join(theirs, link)));
      // Imported by us on top of theirs: nothing is new.
      for (const [id, content] of made.objects)
        expect(await repository.putObject(content)).toEqual({ id, created: false });
      await own.close();
    });

    test(`${algorithm}: after a collection by cfsctl ours is still whole`, async () => {
      expect(cfsctl("gc").stdout).toContain("Objects: 1 removed (100 bytes)");
      expect(fsck()).toMatchObject({ ok: true });
      await using repository = await Repository.open(path);
      const hash = createHash("sha256");
      await repository.cat(contentId, (bytes) => void hash.update(bytes));
      expect(`oci-layer-sha256:${hash.digest("hex")}`).toBe(contentId);
    });

    test(`${algorithm}: a removed ref frees its stream for cfsctl`, async () => {
      await using repository = await Repository.open(path, { write: true });
      expect(repository.removeRef("streams", "mine/layer")).toBe(true);
      expect(repository.removeRef("streams", "mine/layer")).toBe(false);
      expect(repository.removeRef("streams", `oci/${encodeTag("host/name:v%1")}`)).toBe(true);
      await repository.close();
      expect(cfsctl("gc").stdout).toContain("1 streams");
      const left = readdirSync(join(path, "objects")).flatMap((directory) =>
        readdirSync(join(path, "objects", directory)),
      );
      expect(left).toEqual([]);
      expect(existsSync(join(path, "streams", contentId))).toBe(false);
    });
  }
});
