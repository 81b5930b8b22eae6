import { describe, expect, it } from "vitest";

import { runBounded } from "../../src/oci/bounded.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("bounded tasks", () => {
  it("never run more than the limit at once, start in order, and all finish", async () => {
    let running = 0;
    let most = 0;
    const started: number[] = [];
    const items = Array.from({ length: 20 }, (_, i) => i);
    await runBounded(items, 3, undefined, async (item) => {
      started.push(item);
      most = Math.max(most, ++running);
      await pause(item % 4);
      running--;
    });
    expect(started).toEqual(items);
    expect(most).toBe(3);
    expect(running).toBe(0);
  });

  it("stop at the first failure, which is thrown when all that were started have ended", async () => {
    const ended: string[] = [];
    const task = async (item: string, signal: AbortSignal) => {
      if (item === "bad") throw new Error("the first");
      while (!signal.aborted) await pause(1);
      ended.push(item);
      throw new Error("a later one");
    };
    await expect(runBounded(["good", "bad", "never"], 2, undefined, task)).rejects.toThrow("the first");
    expect(ended).toEqual(["good"]);
  });

  it("end with the caller's signal, before and during the work", async () => {
    await expect(runBounded([1], 1, AbortSignal.abort(), async () => {})).rejects.toMatchObject({ code: "aborted" });
    const stop = new AbortController();
    const started: number[] = [];
    const run = runBounded([1, 2, 3], 1, stop.signal, async (item) => {
      started.push(item);
      stop.abort();
    });
    await expect(run).rejects.toMatchObject({ code: "aborted" });
    expect(started).toEqual([1]);
  });

  it("of nothing are done at once", async () => {
    await expect(runBounded([], 4, undefined, () => Promise.reject(new Error("no")))).resolves.toBeUndefined();
  });
});
