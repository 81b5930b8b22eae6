// The image reader against cfsctl's: what it refuses is refused here, what both read is the same; and images of mkfs.erofs.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkImage } from "../../src/image/check.ts";
import { recognizeImage } from "../../src/image/header.ts";
import { imageObjects } from "../../src/image/objects.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { mutate, mutationBase } from "../fixtures/image-mutations.ts";
import { dumpOfImage, imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";
import { seededRandom } from "../fixtures/random.ts";
import { referenceRead } from "../fixtures/reference-reader.ts";
import { describeWithPeers, peerOutput, runPeer } from "../peer.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "composefs-reader-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cases = Number(process.env["COMPOSEFS_FUZZ_CASES"] ?? 1200);

describeWithPeers(["cfsctl"], "damaged images", () => {
  it(`never more permissive than cfsctl, in ${cases} cases`, { timeout: 120_000 + cases * 200 }, () => {
    const random = seededRandom(3);
    const path = join(folder, "damaged.erofs");
    const outcomes = { both: 0, same: 0, neither: 0, stricter: 0 };
    const bases = ([0, 1, 2] as const).flatMap((version) =>
      [1, 2].map((seed) => {
        const root = randomTree({ seed, entries: 40, algorithm: "sha256" });
        const image = imageOfTree(root, { version, dialect: "rs" });
        return mutationBase(`tree ${seed} v${version}`, image, referenceRead(image, "sha256").nids);
      }),
    );
    for (let number = 0; number < cases; number++) {
      const base = bases[number % bases.length];
      if (base === undefined) throw new Error("no base");
      const image = mutate(base, random);
      writeFileSync(path, image);
      const peer = runPeer("cfsctl", ["composefs-info", "dump", path], { timeoutMs: 20_000 });
      const { invalid } = checkImage(image, { algorithm: "sha256" });
      if (peer.status === 0) {
        if (invalid !== undefined) outcomes.stricter++;
        else {
          outcomes.both++;
          if (peer.stdout === [...dumpTree(readTree(image))].join("")) outcomes.same++;
        }
      } else {
        const where = `case ${number}, ${base.name}`;
        expect(invalid?.code, `${where}: cfsctl refuses: ${peer.stderr}`).toBe("invalid");
        outcomes.neither++;
      }
    }
    console.log(`damaged images against cfsctl: ${JSON.stringify(outcomes)}`);
    expect(outcomes.both).toBeGreaterThan(cases / 10);
    expect(outcomes.neither).toBeGreaterThan(cases / 10);
    // cfsctl drops some xattrs and invents digests, so not all that both read is the same.
    expect(outcomes.same).toBeGreaterThan(outcomes.both * 0.9);
  });

  it("cfsctl lists the same objects", () => {
    for (const version of [0, 1, 2] as const) {
      const root = randomTree({ seed: 5, entries: 300, algorithm: "sha256" });
      const image = imageOfTree(root, { version, dialect: "rs" });
      const path = join(folder, "objects.erofs");
      writeFileSync(path, image);
      const theirs = peerOutput("cfsctl", ["composefs-info", "objects", path]).trim().split("\n");
      const ours = imageObjects(image, { algorithm: "sha256" });
      expect(ours.length).toBeGreaterThan(5);
      expect(theirs.map((line) => line.replace("/", "")).toSorted()).toEqual(ours);
    }
  });
});

describeWithPeers(["mkfs.erofs"], "images of mkfs.erofs", () => {
  it("are recognized, and refused", () => {
    const source = join(folder, "source");
    mkdirSync(join(source, "d"), { recursive: true });
    writeFileSync(join(source, "d", "f"), "content".repeat(2000));
    for (const options of [[], ["-x-1"], ["-zlz4"], ["-Enoinline_data"]]) {
      const path = join(folder, "mkfs.erofs");
      rmSync(path, { force: true });
      peerOutput("mkfs.erofs", [...options, path, source]);
      const image = readFileSync(path);
      expect(recognizeImage(image)).toEqual({ kind: "erofs" });
      expect(() => dumpOfImage(image)).toThrow(/not a valid composefs image: the composefs magic is missing/);
      // With a composefs header before it, its contents are what is refused.
      image.writeUInt32LE(0xd078629a, 0);
      image.writeUInt32LE(1, 4);
      image.writeUInt32LE(1, 12);
      expect(checkImage(image).findings.length).toBeGreaterThan(0);
    }
  });
});
