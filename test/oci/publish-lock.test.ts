import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, it } from "vitest";

import { withPublishLock } from "../../src/oci/publish-lock.ts";
import { Repository } from "../../src/repository/repository.ts";

it("one publication waits for the other, also of another handle, and can be given up", async () => {
  const path = mkdtempSync(join(tmpdir(), "composefs-lock-"));
  try {
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using one = await Repository.open(path, { write: true });
    await using two = await Repository.open(path, { write: true });
    const events: string[] = [];
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = withPublishLock(one, undefined, async () => {
      events.push("first begins");
      await held;
      events.push("first ends");
    });
    const stop = new AbortController();
    const given = withPublishLock(two, stop.signal, async () => void events.push("never"));
    const second = withPublishLock(two, undefined, async () => void events.push("second"));
    stop.abort();
    await expect(given).rejects.toMatchObject({ code: "aborted" });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).toEqual(["first begins"]);
    release();
    await Promise.all([first, second]);
    expect(events).toEqual(["first begins", "first ends", "second"]);
    await expect(withPublishLock(one, undefined, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await withPublishLock(two, undefined, async () => 7)).toBe(7);
  } finally {
    rmSync(path, { recursive: true });
  }
});
