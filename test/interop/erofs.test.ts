// Images against those that cfsctl makes of the same trees.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ImageOptions, imageId, writeImage, writeImageFromDump } from "../../src/image/write.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { randomTree } from "../fixtures/random-tree.ts";
import { describeWithPeers, peer, peerBytes, peerOutput, runPeer } from "../peer.ts";

const seeds = fc.integer({ min: 0, max: 0xffffffff });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "composefs-erofs-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The dump of a tree in a form that cfsctl reads. */
function dumpForPeer(root: ReturnType<typeof randomTree>): Buffer {
  return Buffer.from([...dumpTree(root, "canonical")].join(""));
}

/** cfsctl under the name `mkcomposefs`, which makes it one. */
function peerImage(dump: Buffer, version: 0 | 1): Buffer {
  const program = join(folder, "mkcomposefs");
  const image = join(folder, "peer.erofs");
  writeFileSync(join(folder, "tree.dump"), dump);
  try {
    symlinkSync(peer("cfsctl"), program);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const words = [`--min-version=${version}`, "--from-file", join(folder, "tree.dump"), image];
  const result = spawnSync(program, words, { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`mkcomposefs ${words.join(" ")}: ${result.stderr}`);
  return readFileSync(image);
}

function imageBytes(root: ReturnType<typeof randomTree>, options: ImageOptions): Buffer {
  const pieces: Buffer[] = [];
  writeImage(root, options, (chunk) => pieces.push(Buffer.from(chunk)));
  return Buffer.concat(pieces);
}

describeWithPeers(["cfsctl"], "images of random trees", () => {
  test.each([0, 1] as const)("version %i is byte for byte cfsctl's", async (version) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.integer({ min: 0, max: 400 }), fc.boolean(), async (seed, entries, overlay) => {
        const root = randomTree({ seed, entries, algorithm: "sha256", whiteouts: overlay, overlayXattrs: overlay });
        const dump = dumpForPeer(root);
        const want = peerImage(dump, version);
        const options = { version, algorithm: "sha256", dialect: "rs" } as const;
        expect(imageBytes(root, options).equals(want)).toBe(true);
        const pieces: Buffer[] = [];
        await writeImageFromDump([dump], options, (chunk) => pieces.push(Buffer.from(chunk)));
        expect(Buffer.concat(pieces).equals(want)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test.each([0, 1, 2] as const)("cfsctl reads version %i and finds the same tree", (version) => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 0, max: 300 }), (seed, entries) => {
        const root = randomTree({ seed, entries, algorithm: "sha256" });
        writeFileSync(join(folder, "ours.erofs"), imageBytes(root, { version, algorithm: "sha256" }));
        const read = peerBytes("cfsctl", ["composefs-info", "dump", join(folder, "ours.erofs")]);
        const want = [...dumpTree(root, "rs")].map((line) => (version === 2 ? withoutNanoseconds(line) : line));
        expect(read.toString("latin1")).toBe(want.join(""));
      }),
      { numRuns: 25 },
    );
  });
});

/** Version 2 does not store them. */
function withoutNanoseconds(line: string): string {
  const fields = line.split(" ");
  fields[7] = (fields[7] as string).replace(/\.\d+$/, ".0");
  return fields.join(" ");
}

describeWithPeers(["cfsctl", "setfattr"], "images of directories", () => {
  test("every version and both algorithms have cfsctl's ids", async () => {
    const tree = join(folder, "tree");
    const script = `set -e
      mkdir -p "$1/usr/bin" "$1/etc/empty"; cd "$1"
      head -c 65 /dev/zero > usr/bin/sixty-five; head -c 64 /dev/zero > usr/bin/sixty-four; : > etc/none
      head -c 300000 /dev/urandom > usr/bin/large; ln usr/bin/large usr/again; ln -s ../nowhere etc/link; mkfifo etc/fifo
      for i in $(seq 400); do echo "$i" > "etc/file-$i"; done; cp usr/bin/sixty-five etc/same
      setfattr -n user.note -v one usr/bin/large; setfattr -n user.note -v one etc/same; chmod 4711 etc/same`;
    expect(spawnSync("sh", ["-c", script, "sh", tree]).status).toBe(0);
    for (const algorithm of ["sha256", "sha512"] as const) {
      const hash = ["--no-repo", "--hash", algorithm];
      const bare = ["--no-propagate-usr-to-root"];
      const dump = peerBytes("cfsctl", [...hash, "create-dumpfile", ...bare, tree]);
      for (const version of [0, 1, 2] as const) {
        const words = [...hash, "--erofs-version", String(version), "compute-id", ...bare, tree];
        const id = /[0-9a-f]{64,128}/.exec(peerOutput("cfsctl", words))?.[0];
        expect((await writeImageFromDump([dump], { version, algorithm })).id).toBe(id);
      }
    }
  });
});

describeWithPeers(["cfsctl", "fsck.erofs"], "a large image", () => {
  test("is sound for fsck.erofs", () => {
    const root = randomTree({ seed: 1, entries: 20_000, algorithm: "sha256" });
    for (const version of [0, 1] as const) {
      const file = join(folder, "large.erofs");
      const image = imageBytes(root, { version, algorithm: "sha256" });
      writeFileSync(file, image);
      expect(imageId(root, { version, algorithm: "sha256" }).size).toBe(image.length);
      const result = runPeer("fsck.erofs", [file]);
      expect(result).toMatchObject({ status: 0, stderr: "" });
    }
  });
});
