// Foreign UKIs (docs/spec/boot.md, sections 5 and 15): whatever is in the file, there is a result or an error of a known class, soon, and
// no more is read at once than the largest table of sections.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource, PeFile, type PeSource } from "../../../src/boot/pe/read.ts";
import { inspectUki } from "../../../src/boot/uki/inspect.ts";
import { extractUki } from "../../../src/boot/uki/extract.ts";
import { peBytes, planUki } from "../../../src/boot/uki/write.ts";
import { ComposefsError } from "../../../src/error.ts";
import { seededRandom } from "../../fixtures/random.ts";
import { makeStub } from "../../fixtures/stub.ts";

const work = mkdtempSync(join(tmpdir(), "uki-hostile-test-"));
afterAll(() => rmSync(work, { recursive: true }));

const REASONS = ["uki-not-pe", "uki-no-section", "uki-not-utf8", "uki-no-name", "invalid-name"];
const whole = peBytes(
  planUki({
    stub: { bytes: makeStub({ sections: [".text", ".data"] }), name: "stub" },
    kernel: bytesSource(makeStub()),
    initramfs: [bytesSource(Buffer.alloc(2000, "i"))],
    commandLine: `quiet composefs=${"ab".repeat(64)} composefs.digest=v1-sha256-12:${"cd".repeat(32)}`,
    osRelease: Buffer.from('PRETTY_NAME="An OS"\nVERSION_ID=1\n'),
    kernelVersion: "6.1",
  }),
);
const headers = 1024;
/** The largest table of sections that there can be. */
const LARGEST = 65_535 * 40;

/** A source that fails the test when more is asked of it than there is, or much at once. */
function watched(bytes: Uint8Array): PeSource {
  return {
    size: bytes.length,
    read(position, length) {
      expect(position).toBeGreaterThanOrEqual(0);
      expect(position + length).toBeLessThanOrEqual(bytes.length);
      expect(length).toBeLessThanOrEqual(LARGEST);
      return bytes.subarray(position, position + length);
    },
  };
}

/** Looks into it and extracts it; the reasons of what was refused. */
async function lookInto(bytes: Uint8Array): Promise<string[]> {
  const refused: string[] = [];
  const attempt = async (action: () => unknown) => {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
      if (error.code === "limit") return;
      expect(REASONS).toContain(error.reason);
      refused.push(error.reason as string);
    }
  };
  const source = watched(bytes);
  await attempt(() => inspectUki(PeFile.read(source, "hostile"), source));
  const out = mkdtempSync(join(work, "out-"));
  await attempt(() => extractUki(PeFile.read(source, "hostile"), out));
  rmSync(out, { recursive: true });
  return refused;
}

describe("foreign UKIs", () => {
  it("that are whole are not refused", async () => expect(await lookInto(whole)).toEqual([]));

  it("with bytes changed, cut, doubled and moved at random are refused with a reason, or read", async () => {
    const random = seededRandom(20_261_130);
    const below = (limit: number) => Math.floor(random() * limit);
    const seen = new Map<string, number>();
    for (let round = 0; round < 400; round++) {
      let bytes = Buffer.from(whole);
      for (let change = below(4); change >= 0; change--) {
        const at = below(headers);
        switch (below(5)) {
          case 0:
            bytes[at] = below(256);
            break;
          case 1:
            bytes.writeUInt32LE([0, 0xffffffff, 0x7fffffff, below(2 ** 32), bytes.length][below(5)] as number, at);
            break;
          case 2:
            bytes = bytes.subarray(0, below(bytes.length));
            break;
          case 3:
            bytes = Buffer.concat([bytes.subarray(0, at), bytes]);
            break;
          default:
            bytes.copyWithin(at, below(headers), below(bytes.length));
        }
        if (bytes.length <= headers + 4) break;
      }
      for (const reason of await lookInto(bytes)) seen.set(reason, (seen.get(reason) ?? 0) + 1);
    }
    expect([...seen.keys()]).toContain("uki-not-pe");
    expect([...seen.keys()]).toContain("uki-no-section");
    expect(readdirSync(work)).toEqual([]);
  });

  it("that claim the whole file 65535 times are looked through once", async () => {
    const count = 65_535;
    const table = 64 + 24;
    const bytes = Buffer.alloc(table + 40 * count);
    bytes.writeUInt32LE(64, 0x3c);
    bytes.write("PE\0\0", 64, "latin1");
    bytes.writeUInt16LE(count, 70);
    for (let index = 0; index < count; index++) {
      const at = table + 40 * index;
      bytes.write([".linux", ".initrd", ".splash"][index % 3] as string, at, "latin1");
      bytes.writeUInt32LE(bytes.length, at + 8);
    }
    const begin = performance.now();
    expect(await lookInto(bytes)).toEqual(["uki-no-section"]);
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});
