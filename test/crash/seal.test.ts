// kill -9 between every two system calls that `seal` makes in a layout, and calls there that fail: the old image is whole under its
// name until the new one is, no file has a wrong digest for its name, and the same command again ends where an undisturbed one does.
//
//   COMPOSEFS_CRASH_CUTS    how many cuts at most, evenly spread; all when left out
//   COMPOSEFS_CRASH_FAULTS  how many calls that fail; 12 when left out

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { composefsOutput } from "../fixtures/composefs.ts";
import { sealableEntries, sealableLayout } from "../fixtures/sealable.ts";
import { describeWithPeers } from "../peer.ts";
import { workFolder } from "./setup.ts";
import { isMutation, recordCalls, runUntil, runWithError } from "./strace.ts";

const cutLimit = Number(process.env["COMPOSEFS_CRASH_CUTS"] ?? Number.POSITIVE_INFINITY);
// Some of the calls are not made again: of fewer, none might be.
const faultLimit = Math.max(8, Number(process.env["COMPOSEFS_CRASH_FAULTS"] ?? 12));

describeWithPeers(["strace"], "seal, stopped anywhere", () => {
  const folder = workFolder();
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const start = join(folder, "start");
  const temporary = join(folder, "temporary");
  const stub = join(folder, "the.stub");
  let source = "";

  const platform = `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`;
  const args = (place: string, argument = "new") =>
    ["seal", source, `oci:${place}:s`, "--cmdline", argument, "--stub", stub, "--quiet"].concat([
      "--platform",
      platform,
      "--work-dir",
      temporary,
    ]);

  beforeAll(() => {
    mkdirSync(temporary);
    source = sealableLayout(join(folder, "source")).reference;
    writeFileSync(stub, sealableEntries().find(({ path }) => path.endsWith(".stub"))?.content ?? "");
    composefsOutput(args(start, "old"));
  });

  const indexOf = (place: string) => readFileSync(join(place, "index.json"), "utf8");

  /** Blobs by name; none of them is another than its name says. */
  function blobs(place: string, where: string): string[] {
    const names = readdirSync(join(place, "blobs/sha256")).filter((name) => !name.startsWith("."));
    for (const name of names) {
      const digest = createHash("sha256")
        .update(readFileSync(join(place, "blobs/sha256", name)))
        .digest("hex");
      expect(digest, where).toBe(name);
    }
    return names.toSorted();
  }

  /** The index is the old or the new one, and all that it leads to is there. */
  function expectWhole(place: string, goal: string, where: string): "old" | "new" {
    const index = indexOf(place);
    const which = index === indexOf(start) ? "old" : "new";
    if (which === "new") expect(index, where).toBe(goal);
    const there = new Set(blobs(place, where));
    const read = (digest: string) =>
      JSON.parse(readFileSync(join(place, "blobs/sha256", digest.slice(7)), "utf8")) as Manifest;
    for (const { digest } of (JSON.parse(index) as { manifests: { digest: string }[] }).manifests) {
      const { config, layers } = read(digest);
      for (const part of [config, ...layers]) expect(there.has(part.digest.slice(7)), where).toBe(true);
    }
    return which;
  }

  it("keeps the old image until the new one is whole", async () => {
    const undisturbed = join(folder, "undisturbed");
    cpSync(start, undisturbed, { recursive: true });
    const calls = (await recordCalls(undisturbed, args(undisturbed))).filter(isMutation);
    const goal = indexOf(undisturbed);
    const all = blobs(undisturbed, "undisturbed");
    expect(goal).not.toBe(indexOf(start));
    const step = Math.max(1, calls.length / cutLimit);
    const cuts = calls.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
    const ends = { old: 0, new: 0 };
    for (const { name, count, args: printed } of cuts) {
      const where = `killed before ${name} number ${count} (recorded as ${printed.slice(0, 200)})`;
      const place = join(folder, "cut");
      cpSync(start, place, { recursive: true });
      if (await runUntil({ name, count, threads: "main" }, args(place))) ends[expectWhole(place, goal, where)]++;
      composefsOutput(args(place));
      expect(indexOf(place), where).toBe(goal);
      expect(blobs(place, where), where).toEqual(all);
      rmSync(place, { recursive: true });
    }
    console.log(`${ends.old + ends.new} cuts of ${calls.length} calls, ${ends.new} of them with the new image`);
    expect(ends.old).toBeGreaterThan(0);
  });

  it("keeps it when a call fails, and leaves nothing unfinished", async () => {
    // What was killed above has left its own.
    rmSync(temporary, { recursive: true });
    mkdirSync(temporary);
    const recorded = join(folder, "recorded");
    cpSync(start, recorded, { recursive: true });
    const calls = (await recordCalls(recorded, args(recorded))).filter(isMutation);
    const goal = indexOf(recorded);
    const step = Math.max(1, calls.length / faultLimit);
    const chosen = calls.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
    let refused = 0;
    for (const [index, { name, count }] of chosen.entries()) {
      const error = index % 2 === 0 ? "EIO" : "ENOSPC";
      const where = `${name} number ${count} answered ${error}`;
      const place = join(folder, "fault");
      cpSync(start, place, { recursive: true });
      const { result, hit } = await runWithError({ name, count }, error, place, args(place));
      if (hit && result.status !== 0) {
        refused++;
        expect(result.status, where).toBe(1);
        expect(result.stderr, where).toMatch(/input\/output error|no space left/i);
        const left = readdirSync(place, { recursive: true, encoding: "utf8" });
        expect(
          left.filter((path) => /(^|\/)\.composefs-/.test(path)),
          where,
        ).toEqual([]);
        expect(readdirSync(temporary), where).toEqual([]);
      }
      expectWhole(place, goal, where);
      rmSync(place, { recursive: true });
    }
    console.log(`${refused} of ${chosen.length} calls that failed were refused`);
    expect(refused).toBeGreaterThan(0);
  });
});

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}
