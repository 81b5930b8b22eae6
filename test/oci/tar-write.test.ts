// Archives that are written, read back by our reader and by tar (docs/spec/oci.md, section 5.1).

import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../src/boot/pe/read.ts";
import { type NewTarEntry, tarStream } from "../../src/oci/tar-write.ts";
import type { TarEntry } from "../../src/oci/tar-entry.ts";
import { TarReader } from "../../src/oci/tar.ts";
import { NO_XATTRS, type Stat } from "../../src/tree/node.ts";

const stat = (more: Partial<Stat> = {}): Stat => ({
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: 1_700_000_000n,
  mtimeNsec: 0,
  xattrs: NO_XATTRS,
  ...more,
});

async function archive(entries: readonly NewTarEntry[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of tarStream(entries)) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts);
}

function read(bytes: Uint8Array): { entry: TarEntry; content: string | undefined }[] {
  const found: { entry: TarEntry; content: string | undefined }[] = [];
  const reader = new TarReader("test", {
    entry: (entry, content) => {
      const text = content === undefined ? undefined : Buffer.from(content).toString("latin1");
      found.push({ entry, content: entry.type === "file" ? (text ?? "") : text });
    },
    content: (piece) => {
      const last = found.at(-1) as { content: string };
      last.content += Buffer.from(piece).toString("latin1");
    },
  });
  reader.push(bytes);
  reader.finish();
  return found;
}

const long = "d/".repeat(80) + "f".repeat(200);
const entries: NewTarEntry[] = [
  { path: "", type: "directory", stat: stat({ mode: 0o755 }) },
  { path: "usr", type: "directory", stat: stat({ mode: 0o1777, mtimeNsec: 5 }) },
  { path: "empty", type: "file", stat: stat() },
  { path: "small", type: "file", stat: stat({ mode: 0o4755 }), content: bytesSource(Buffer.from("hello")) },
  { path: "block", type: "file", stat: stat(), content: bytesSource(Buffer.alloc(512, "b")) },
  { path: "large", type: "file", stat: stat(), content: bytesSource(Buffer.alloc(3 * 1024 * 1024 + 1, "x")) },
  { path: "x".repeat(100), type: "file", stat: stat() },
  { path: "y".repeat(101), type: "file", stat: stat() },
  { path: long, type: "file", stat: stat() },
  { path: "name \xff\n\xc3\xa4", type: "file", stat: stat() },
  { path: "owner", type: "file", stat: stat({ uid: 0xffffffff, gid: 2_097_152 }) },
  { path: "old", type: "file", stat: stat({ mtimeSec: -5n }) },
  { path: "future", type: "file", stat: stat({ mtimeSec: 2n ** 40n, mtimeNsec: 999_999_999 }) },
  {
    path: "xattrs",
    type: "file",
    stat: stat({
      xattrs: new Map([
        ["user.b", "\0\xff\n=x"],
        ["user.a", ""],
        ["security.capability", "v".repeat(1000)],
      ]),
    }),
  },
  { path: "link", type: "symlink", stat: stat({ mode: 0o777 }), link: `../${long}` },
  { path: "hard", type: "hardlink", stat: stat(), link: "small" },
  { path: "hardlong", type: "hardlink", stat: stat(), link: long },
  { path: "null", type: "char", stat: stat(), rdev: (1 << 8) | 3 },
  { path: "disk", type: "block", stat: stat(), rdev: (259 << 8) | 0x12 | (0x345 << 20) },
  { path: "pipe", type: "fifo", stat: stat() },
];

describe("a written archive", () => {
  it("reads back as what was written", async () => {
    const found = read(await archive(entries));
    expect(found.length).toBe(entries.length);
    for (const [index, { entry, content }] of found.entries()) {
      const wanted = entries[index] as NewTarEntry;
      expect(entry.path.replace(/^\.?\/|\/$/g, "")).toBe(wanted.path);
      expect(entry.type).toBe(wanted.type);
      if (wanted.type !== "hardlink") expect(entry.stat).toEqual(wanted.stat);
      expect(entry.link).toBe(wanted.link ?? "");
      expect(entry.rdev).toBe(wanted.rdev ?? 0);
      if (wanted.type === "file") {
        const bytes = wanted.content?.read(0, wanted.content.size) ?? new Uint8Array();
        expect(content).toBe(Buffer.from(bytes).toString("latin1"));
      }
    }
  });

  it("is the same each time, and made of whole blocks with two empty ones at the end", async () => {
    const bytes = await archive(entries);
    expect(bytes).toEqual(await archive(entries));
    expect(bytes.length % 512).toBe(0);
    expect(bytes.subarray(-1024).every((byte) => byte === 0)).toBe(true);
  });

  it("is one for tar as well", async () => {
    const input = await archive(entries);
    const lines = execFileSync("tar", ["-tf", "-"], { input, encoding: "latin1" }).trimEnd().split("\n");
    expect(lines.length).toBe(entries.length);
    expect(lines).toContain(long);
  });

  it("fails when a content ends too early", async () => {
    const content = { size: 2000, read: (_: number, length: number) => new Uint8Array(Math.min(length, 1000)) };
    await expect(archive([{ path: "a", type: "file", stat: stat(), content }])).rejects.toThrow("a became shorter");
  });
});
