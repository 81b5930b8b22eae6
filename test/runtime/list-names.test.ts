import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "composefs-names-"));
// Of every length around the padding of directory records, of other than UTF-8 (which Deno's `node:fs` cannot make), and enough
// for several reads.
const names = [
  ...Array.from({ length: 255 }, (_, i) => "n".repeat(i + 1)),
  ...Array.from({ length: 2000 }, (_, i) => `${i}`.padStart(62, "0")),
  "..x",
  ".h",
  ...(process.versions["deno"] === undefined ? ["\xff\xfe"] : []),
];

beforeAll(() => {
  for (const name of names) writeFileSync(Buffer.from(`${folder}/${name}`, "latin1"), "");
  mkdirSync(join(folder, "empty"));
  symlinkSync("empty", join(folder, "link"));
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(["", "commands"])("with COMPOSEFS_SYSCALLS=%s", (provider) => {
  const list = async (path: string) => {
    vi.stubEnv("COMPOSEFS_SYSCALLS", provider);
    vi.resetModules();
    const { listNames } = await import("../../src/runtime/list-names.ts");
    const found: string[] = [];
    const there = listNames(path, (text, start, end) => found.push(text.slice(start, end)));
    return there ? found.toSorted() : undefined;
  };

  test("every name, byte for byte", async () => {
    expect(await list(folder)).toEqual([...names, "empty", "link"].toSorted());
    expect(await list(join(folder, "empty"))).toEqual([]);
  });

  test("no directory, no names", async () => {
    for (const name of ["link", "missing", "n"]) expect(await list(join(folder, name))).toBeUndefined();
  });
});
