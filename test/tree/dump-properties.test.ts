// Dumps, trees and images of random trees: whatever way one goes, one comes back to the same. And no parser takes a text that the
// specification refuses. COMPOSEFS_SEED repeats a run; the titles tell the seed.

import { describe, expect, it } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import { dumpImage } from "../../src/image/dump.ts";
import { readTree } from "../../src/image/read.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { refusalOfDump } from "../fixtures/dump-oracle.ts";
import { imageOfDump, imageOfTree } from "../fixtures/image.ts";
import { randomTree } from "../fixtures/random-tree.ts";

const seed = Number(process.env["COMPOSEFS_SEED"] ?? Date.now() % 1_000_000_007);
const bytes = (text: string) => Buffer.from(text, "latin1");

/** A small generator of numbers (xorshift32). */
function generator(from: number): (below: number) => number {
  let state = from >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

describe(`the way round, seed ${seed}`, () => {
  const writers = [
    { version: 0, dialect: "c" },
    { version: 1, dialect: "c" },
    { version: 0, dialect: "rs" },
    { version: 1, dialect: "rs" },
    { version: 2, dialect: "rs" },
  ] as const;

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])("random tree -> dump -> tree -> image -> tree -> dump, %i", async (n) => {
    for (const [i, writer] of writers.entries()) {
      const algorithm = (n + i) % 3 === 0 && writer.dialect === "rs" ? "sha512" : "sha256";
      const number = seed + 100 * n + i;
      const root = randomTree({
        seed: number,
        entries: 30 * n,
        algorithm,
        whiteouts: n % 2 === 0,
        overlayXattrs: writer.dialect === "rs" && n % 2 === 0,
      });
      // Version 2 has no nanoseconds; the lines of further names have a time of 0.0 anyway.
      const dump = [...dumpTree(root, "canonical")]
        .join("")
        .replace(writer.version === 2 ? /^((?:\S+ ){7}-?\d+\.)\d+/gm : /(?!)/, "$10");
      expect(refusalOfDump(dump, algorithm === "sha256" ? 64 : 128)).toBeUndefined();
      const tree = readDump([bytes(dump)], { algorithm, dialect: writer.dialect });
      expect([...dumpTree(tree, "canonical")].join(""), `tree ${number}`).toBe(dump);
      const image = imageOfTree(tree, writer, algorithm);
      expect(await imageOfDump(bytes(dump), writer, algorithm), `tree ${number}`).toEqual(image);
      const back = readTree(image, { algorithm });
      expect([...dumpTree(back, "canonical")].join(""), `tree ${number}`).toBe(dump);
      let text = "";
      dumpImage(image, (piece) => (text += Buffer.from(piece).toString("latin1")), { algorithm });
      expect(text, `tree ${number}`).toBe(dump);
    }
  });
});

describe(`damaged dumps, seed ${seed}`, () => {
  const PIECES = [
    " ",
    "\\",
    "\\x",
    "\\x2f",
    "\\x00",
    "-",
    "=",
    "@",
    "/",
    "/.",
    "//",
    "0",
    "9",
    "8",
    "+",
    ".",
    "\t",
    "\0",
    "\r",
    "\n",
    "\xff",
    "a",
  ];
  const ID = "5a".repeat(32);
  const SMALL = [
    "/ 0 40755 3 0 0 0 0.0 - - -",
    "/d 0 40755 2 0 0 0 1.5 - - - user.a=b",
    "/d/f 5 100644 2 1 2 0 -3.4 - hel\\x6c\\\\ - user.a=\\x3d",
    `/e 70 100644 1 0 0 0 0.0 5a/${ID.slice(2)} - ${ID}`,
    "/l 1 120777 1 0 0 0 0.0 x - -",
    "/n 0 20644 1 0 0 0 0.0 - - -",
    "/p 0 10644 1 0 0 0 0.0 - - -",
    "/r 0 60644 1 0 0 7 0.0 - - -",
    "/s 0 @120000 - - - - 0.0 /d/f - -",
    "",
  ].join("\n");

  const accepted = async (text: string, dialect: "c" | "rs") => {
    const outcomes = [];
    for (const read of [
      () => readDump([bytes(text)], { dialect }),
      async () => imageOfDump(bytes(text), { version: 1, dialect }),
    ]) {
      try {
        await read();
        outcomes.push(true);
      } catch (error) {
        if (!(error instanceof ComposefsError) || !["invalid", "limit"].includes(error.code)) throw error;
        outcomes.push(false);
      }
    }
    return outcomes;
  };

  it("begins with one that is taken", async () => {
    expect(refusalOfDump(SMALL)).toBeUndefined();
    for (const dialect of ["c", "rs"] as const) expect(await accepted(SMALL, dialect)).toEqual([true, true]);
  });

  it("are not taken if the specification refuses them, by either parser", { timeout: 240_000 }, async () => {
    const below = generator(seed);
    const counts = { refused: 0, taken: 0 };
    for (let n = 0; n < 3000; n++) {
      let text = SMALL;
      for (let changes = 1 + below(2); changes > 0; changes--) {
        const at = below(text.length);
        const piece = PIECES[below(PIECES.length)] as string;
        const removed = below(3) === 0 ? below(12) : below(2);
        text = text.slice(0, at) + (below(4) === 0 ? "" : piece) + text.slice(at + removed);
      }
      const refusal = refusalOfDump(text);
      for (const dialect of ["c", "rs"] as const) {
        const [byTree, byCore] = await accepted(text, dialect);
        const shown = `seed ${seed}, text ${n}, dialect ${dialect}: ${refusal}\n${JSON.stringify(text)}`;
        expect(byTree, shown).toBe(byCore);
        if (refusal !== undefined) expect(byCore, shown).toBe(false);
        counts[byCore === true ? "taken" : "refused"]++;
      }
    }
    // Both kinds are there, or nothing was tested.
    expect(Math.min(counts.refused, counts.taken)).toBeGreaterThan(300);
  });
});
