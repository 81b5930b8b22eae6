// Images damaged at random: the reader and an oracle of its own agree on every one, no case takes a second, and memory stays
// bounded. COMPOSEFS_FUZZ_CASES (default 4000) and COMPOSEFS_FUZZ_SEED (default 1) make longer or other runs:
//   COMPOSEFS_FUZZ_CASES=1000000 npx vitest run --project unit test/image/mutations.test.ts

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ErofsReader, type ImageHeader } from "../../src/core/erofs-read.ts";
import { ComposefsError } from "../../src/error.ts";
import { lookup } from "../../src/image/lookup.ts";
import { RecordDecoder } from "../../src/image/records.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { type MutationBase, mutate, mutationBase } from "../fixtures/image-mutations.ts";
import { dumpOfImage, imageOfDump, imageOfTree, type Writer } from "../fixtures/image.ts";
import { seededRandom } from "../fixtures/random.ts";
import { Refused, referenceRead } from "../fixtures/reference-reader.ts";
import { goldensDir } from "../goldens-dir.ts";

const folder = goldensDir("erofs");
const cases = Number(process.env["COMPOSEFS_FUZZ_CASES"] ?? 4000);
const seed = Number(process.env["COMPOSEFS_FUZZ_SEED"] ?? 1);

/** Most time that a case may take, in milliseconds of this process. */
const CASE_LIMIT = 1000;
/** Most memory that the core may have: the images have less than 100 KiB. */
const MEMORY_LIMIT = 16 << 20;

const V0: Writer = { version: 0, dialect: "c" };
const V1: Writer = { version: 1, dialect: "c" };
const V2: Writer = { version: 2, dialect: "rs" };

const SOURCES: [string, Writer][] = [
  ["hostile-base.dump", V1],
  ["hostile-base.dump", V2],
  ["random-0.dump", V0],
  ["random-0.dump", V2],
  ["overlay-xattr-escape.dump", V1],
  ["overlay-xattr-escape.dump", V2],
  ["whiteout-parent-preset.dump", V0],
  ["whiteout-parent-preset.dump", V1],
  ["nested-overlay-store.dump", V1],
  ["hardlink-types.dump", V2],
  ["ext-sizes.dump", V1],
  ["ext-sizes.dump", V2],
  ["xattr-shared-order.dump", V2],
  ["dir-block-4097.dump", V2],
  ["inline-upto-512.dump", V2],
  ["xattr-prefixes.dump", V1],
  ["devices.dump", V2],
];

async function bases(): Promise<MutationBase[]> {
  const found: MutationBase[] = [];
  for (const [name, writer] of SOURCES) {
    const image = await imageOfDump(readFileSync(join(folder, name)), writer);
    found.push(mutationBase(`${name} v${writer.version}`, image, referenceRead(image, "sha256").nids));
  }
  return found;
}

interface Verdict {
  dump: string;
  objects: string;
  findings: number;
  repositoryFindings: number;
}

function text(reader: ErofsReader): string {
  return [...reader.pieces()].map((piece) => Buffer.from(piece).toString("latin1")).join("");
}

/** What the reader says; undefined if it refuses the image, as it must with the right error. */
function read(image: Uint8Array): Verdict | ComposefsError {
  try {
    using reader = new ErofsReader(image, { algorithm: "sha256" });
    const header: ImageHeader = reader.header;
    expect(header.size).toBe(image.length);
    reader.load();
    reader.dump();
    const dump = text(reader);
    const findings = reader.check(false);
    const repositoryFindings = reader.check(true) - findings;
    let objects = "";
    if (findings === 0) {
      reader.objects();
      objects = text(reader);
    }
    checkTree(reader, dump);
    return { dump, objects, findings, repositoryFindings };
  } catch (error) {
    if (!(error instanceof ComposefsError) || (error.code !== "invalid" && error.code !== "limit")) throw error;
    return error;
  }
}

/** Tree and lookups agree with the dump. */
function checkTree(reader: ErofsReader, dump: string): void {
  if (/^\S+ \d{16,} /m.test(dump)) return;
  reader.tree();
  const decoder = new RecordDecoder();
  for (const piece of reader.pieces()) decoder.decode(piece);
  if (decoder.root === undefined) throw new Error("no root");
  const lines = [...dumpTree(decoder.root, "canonical")];
  if (lines.join("") !== dump) throw new Error("the tree differs from the dump");
  for (const [name, node] of [...decoder.root.entries].slice(0, 3)) {
    if (lookup(reader, name)?.node.stat.mode !== node.stat.mode) throw new Error(`lookup of ${name} differs`);
  }
}

function reference(image: Uint8Array): Verdict | Refused {
  try {
    const { dump, objects, findings, repositoryFindings } = referenceRead(image, "sha256");
    return {
      dump,
      objects: findings.length === 0 ? objects.map((id) => `${id}\n`).join("") : "",
      findings: findings.length,
      repositoryFindings: repositoryFindings.length,
    };
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
}

/** What differs between the two verdicts; undefined if nothing does. */
function difference(ours: Verdict | ComposefsError, oracle: Verdict | Refused): string | undefined {
  if (oracle instanceof Refused) return "dump" in ours ? `accepted, the oracle refuses: ${oracle.message}` : undefined;
  if (!("dump" in ours)) {
    // Stricter than the specification, and never so for an image that a writer made.
    return ours.message.endsWith("[overlap]") ? undefined : `refused, the oracle accepts: ${ours.message}`;
  }
  if (ours.dump !== oracle.dump) return "the dumps differ";
  if (ours.findings !== oracle.findings) return `${ours.findings} findings, the oracle has ${oracle.findings}`;
  if (ours.repositoryFindings !== oracle.repositoryFindings) return "the findings for repositories differ";
  return ours.objects === oracle.objects ? undefined : "the objects differ";
}

/** Written again by our writer, what was read is the same tree. */
function rewritten(image: Uint8Array, dump: string): string | undefined {
  const version = new DataView(image.buffer, image.byteOffset).getUint32(12, true) as 0 | 1 | 2;
  using reader = new ErofsReader(image, { algorithm: "sha256" });
  reader.tree();
  const decoder = new RecordDecoder();
  for (const piece of reader.pieces()) decoder.decode(piece);
  if (decoder.root === undefined) return "no root";
  let again: Uint8Array;
  try {
    again = imageOfTree(decoder.root, { version, dialect: version === 2 ? "rs" : "c" });
  } catch (error) {
    // What only images can say: an xattr set that no dump could have, a redirect of another form, a size beyond 2^53.
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
  const kept = version === 2 ? keptByVersion2 : (unchanged: string) => unchanged;
  const lines = kept(dump).split("\n");
  const differing = kept(dumpOfImage(again, "sha256"))
    .split("\n")
    .findIndex((line, i) => line !== lines[i]);
  return differing < 0
    ? undefined
    : `the image written again has another line ${differing + 1} than ${lines[differing]}`;
}

/** A dump without what the writer of version 2 does not keep: nanoseconds, and redirects that are no object's. */
function keptByVersion2(dump: string): string {
  const lines = dump.split("\n").map((line) => {
    const fields = line.split(" ");
    if (fields[7] !== undefined) fields[7] = fields[7].replace(/\.\d+$/, ".0");
    if (fields[2]?.startsWith("10") && fields[9] === "-") fields[8] = "-";
    return fields.join(" ");
  });
  return lines.join("\n");
}

describe("damaged images", () => {
  it(
    `${cases} cases, seed ${seed}`,
    async () => {
      const from = await bases();
      const random = seededRandom(seed);
      const outcomes = { accepted: 0, clean: 0, refused: 0 };
      for (let number = 0; number < cases; number++) {
        const base = from[number % from.length] as MutationBase;
        const image = mutate(base, random);
        const before = process.cpuUsage();
        const ours = read(image);
        const { user, system } = process.cpuUsage(before);
        const where = `case ${number} of seed ${seed}, ${base.name}`;
        if ((user + system) / 1000 > CASE_LIMIT) throw new Error(`${where}: took ${(user + system) / 1000} ms`);
        let problem = difference(ours, reference(image));
        if (problem === undefined && "dump" in ours && number % 8 === 0 && !/^\S+ \d{16,} /m.test(ours.dump)) {
          problem = rewritten(image, ours.dump);
        }
        if (problem !== undefined) throw new Error(`${where}: ${problem}`);
        if ("dump" in ours) {
          outcomes.accepted++;
          if (ours.findings === 0) outcomes.clean++;
        } else outcomes.refused++;
      }
      using reader = new ErofsReader((from[0] as MutationBase).image);
      expect(reader.memorySize).toBeLessThan(MEMORY_LIMIT);
      console.log(
        `${cases} damaged images, seed ${seed}: ${JSON.stringify(outcomes)}, core ${reader.memorySize} bytes`,
      );
      expect(outcomes.refused).toBeGreaterThan(cases / 10);
      expect(outcomes.accepted).toBeGreaterThan(cases / 10);
    },
    60_000 + cases * 20,
  );
});
