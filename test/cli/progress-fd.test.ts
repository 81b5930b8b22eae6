// `--progress-fd` (docs/spec/deployments.md, section 4.10), and the rate that bars show: with a clock that the test moves.

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fdProgress, type LineSink, progressFd } from "../../src/cli/progress/fd-lines.ts";
import { Rate } from "../../src/cli/progress/rate.ts";
import { COMPOSEFS, EXAMPLE, run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();

interface Line {
  type: string;
  bytes: number;
  bytesTotal: number;
  steps: number;
  stepsTotal: number;
  stepsCached: number;
  subtasks: { subtask: string; id: string; description: string; bytes: number; bytesTotal: number }[];
}

function collected(): LineSink & { lines: Line[]; isBehind: boolean } {
  const lines: Line[] = [];
  return {
    lines,
    isBehind: false,
    write(text) {
      if (text === "") return;
      expect(text.endsWith("\n")).toBe(true);
      lines.push(JSON.parse(text) as Line);
    },
  };
}

describe("the lines", () => {
  it("begin with Start, come five times a second at most, and never leave out a completion", () => {
    let now = 0;
    const sink = collected();
    const { listen, stop } = fdProgress(sink, () => now);
    expect(sink.lines).toEqual([{ type: "Start", version: "0.1.0" }]);
    listen({ type: "done", id: "old", skipped: true });
    listen({ type: "start", id: "a", kind: "layer", label: "sha256:a", total: 1000 });
    listen({ type: "start", id: "b", kind: "layer", label: "sha256:b", total: 500 });
    const before = sink.lines.length;
    for (let i = 1; i <= 1000; i++) {
      now += 1;
      listen({ type: "advance", id: "a", done: i });
    }
    expect(sink.lines.length - before).toBeLessThanOrEqual(5);
    expect(sink.lines.at(-1)).toMatchObject({ type: "ProgressBytes", stepsCached: 1, stepsTotal: 3, bytesTotal: 1500 });
    // At one and the same moment.
    listen({ type: "done", id: "a" });
    listen({ type: "done", id: "b" });
    expect(sink.lines.slice(-2)).toMatchObject([
      {
        task: "pulling",
        id: "composefs-pull",
        steps: 1,
        bytes: 1000,
        subtasks: [
          { subtask: "composefs_layer", id: "a", description: "Layer: sha256:a", bytes: 1000, bytesTotal: 1000 },
          { id: "b", bytes: 0, bytesTotal: 500 },
        ],
      },
      { steps: 2, bytes: 1500, subtasks: [{ id: "b", bytes: 500 }] },
    ]);
    stop();
    expect(sink.lines.at(-1)).toMatchObject({ steps: 2 });
  });

  it("say 0 for what is not known, and the last state in the end", () => {
    let now = 0;
    const sink = collected();
    const { listen, stop } = fdProgress(sink, () => now);
    listen({ type: "start", id: "a", kind: "copy", label: "an image" });
    now += 1;
    listen({ type: "advance", id: "a", done: 7 });
    expect(sink.lines.at(-1)).toMatchObject({ bytes: 0, bytesTotal: 0 });
    stop();
    expect(sink.lines.at(-1)).toMatchObject({ bytes: 7, bytesTotal: 0, subtasks: [{ subtask: "composefs_copy" }] });
  });

  it("spare a reader who is behind everything but completions", () => {
    let now = 0;
    const sink = collected();
    const { listen } = fdProgress(sink, () => now);
    listen({ type: "start", id: "a", kind: "layer", label: "a", total: 10 });
    sink.isBehind = true;
    const before = sink.lines.length;
    for (let i = 1; i < 10; i++) {
      now += 1000;
      listen({ type: "advance", id: "a", done: i });
    }
    expect(sink.lines).toHaveLength(before);
    listen({ type: "done", id: "a" });
    expect(sink.lines.at(-1)).toMatchObject({ steps: 1 });
  });
});

describe("the descriptor", () => {
  it.each(["0", "1", "2"])("may not be %s", (text) => {
    expect(() => progressFd(text)).toThrow(/above 2/);
  });
  it.each(["", "x", "-1", "3.5", "99999999999"])("may not be %j", (text) => {
    expect(() => progressFd(text)).toThrow(/takes a file descriptor/);
  });
  it("must be open", async () => {
    expect(() => progressFd("987")).toThrow(/987 is not open/);
    const failed = await run(["--progress-fd", "987", "images", "--repo", directory]);
    expect(failed).toMatchObject({ status: 2, stdout: "" });
  });

  it("gets the lines of a pull, and nothing else does", async () => {
    const words = ["oci", "pull", `oci:${EXAMPLE}:v1`, "os", "--platform", "linux/amd64", "--repo"];
    const repository = join(directory, "repository");
    await run(["init", "--insecure", repository]);
    const child: ChildProcess = spawn(
      process.execPath,
      [COMPOSEFS, "--quiet", "--progress-fd=3", ...words, repository],
      {
        stdio: ["ignore", "ignore", "pipe", "pipe"],
      },
    );
    let text = "";
    let errors = "";
    child.stdio[3]?.on("data", (chunk) => (text += String(chunk)));
    child.stderr?.on("data", (chunk) => (errors += String(chunk)));
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
    expect(errors).toBe("");
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    expect(lines[0]).toMatchObject({ type: "Start" });
    const last = lines.at(-1);
    expect(last?.steps).toBe(last?.stepsTotal);
    expect(last?.steps).toBeGreaterThan(1);
  });
});

describe("a rate", () => {
  it("is right from the start, smooth, and forgets", () => {
    let now = 0;
    const rate = new Rate(now);
    expect(rate.perSecond(now)).toBe(0);
    for (let i = 1; i <= 100; i++) rate.update(i * 1000, (now += 100));
    expect(rate.perSecond(now)).toBeCloseTo(10_000);
    // A packet that comes late changes little, a change that stays is followed.
    rate.update(100_000, (now += 200));
    expect(rate.perSecond(now)).toBeGreaterThan(9000);
    let done = 100_000;
    for (let i = 0; i < 300; i++) rate.update((done += 100), (now += 100));
    expect(rate.perSecond(now)).toBeCloseTo(1000, -2);
  });

  it("falls when nothing comes any more", () => {
    const rate = new Rate(0);
    rate.update(1000, 1000);
    expect(rate.perSecond(1500)).toBeCloseTo(1000);
    const rates = [3000, 6000, 12_000, 60_000].map((now) => rate.perSecond(now));
    expect(rates).toEqual(rates.toSorted((a, b) => b - a));
    expect(rates.at(-1)).toBeLessThan(1);
  });
});
