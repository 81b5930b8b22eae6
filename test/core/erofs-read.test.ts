// The reader's limits: images made to be slow or large, nesting, long lines, many xattrs, and use out of order.

import { describe, expect, it } from "vitest";
import { ErofsReader } from "../../src/core/erofs-read.ts";
import { ComposefsError } from "../../src/error.ts";
import { checkImage } from "../../src/image/check.ts";
import { dumpImage } from "../../src/image/dump.ts";
import { imageObjects } from "../../src/image/objects.ts";
import { readTree } from "../../src/image/read.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { Directory, Leaf } from "../../src/tree/node.ts";
import { dumpOfImage, imageOfDump, imageOfTree } from "../fixtures/image.ts";
import { direntBlock, type RawEntry, RawImage, rawXattr, xattrArea } from "../fixtures/raw-image.ts";

const ROOT = 36;
const stat = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: new Map<string, string>() };
const dots = (nid: number, parent: number): RawEntry[] => [
  { name: ".", nid, type: 2 },
  { name: "..", nid: parent, type: 2 },
];

/** Milliseconds of this process that the call takes. */
function cpuTime(call: () => void): number {
  const before = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** An image of a root with the file `f`, whose xattr area is given. */
function imageWithXattrs(xattrs: Buffer, shared: Buffer = Buffer.alloc(0)): Uint8Array {
  const size = Math.ceil((4096 + xattrs.length + shared.length) / 4096) * 4096;
  const raw = new RawImage(size);
  const tail = direntBlock([...dots(ROOT, ROOT), { name: "f", nid: 40, type: 1 }]);
  raw.inode(ROOT, { mode: 0o40755, links: 2, size: tail.length, layout: 2, tail });
  const end = raw.inode(40, { mode: 0o100644, xattrs });
  raw.put(end * 32, shared);
  return raw.finish();
}

describe("images made to be slow", () => {
  it("directories that share their blocks are refused", () => {
    const directories = 20_000;
    const blocks = 300;
    const first = 1 + Math.ceil((directories * 96 + 1152 + 96) / 4096);
    const rootBlocks = Math.ceil((directories + 2) / 200);
    const raw = new RawImage((first + blocks + rootBlocks) * 4096);
    const leaf = 40;
    for (let block = 0; block < blocks; block++) {
      const entries = Array.from({ length: 200 }, (_, i) => ({
        name: `!${String(block * 200 + i).padStart(6, "0")}`,
        nid: leaf,
        type: 1,
      }));
      raw.put((first + block) * 4096, direntBlock(entries, 4096));
    }
    raw.inode(leaf, { mode: 0o100644, links: directories * blocks * 200 });
    const root: RawEntry[] = dots(ROOT, ROOT);
    for (let i = 0; i < directories; i++) {
      const nid = 42 + 3 * i;
      const tail = direntBlock(dots(nid, ROOT));
      raw.inode(nid, {
        mode: 0o40755,
        links: 2,
        layout: 2,
        union: first,
        tail,
        size: blocks * 4096 + tail.length,
      });
      root.push({ name: `d${String(i).padStart(6, "0")}`, nid, type: 2 });
    }
    for (let block = 0; block < rootBlocks; block++) {
      const entries = root.slice(block * 200, (block + 1) * 200);
      raw.put((first + blocks + block) * 4096, direntBlock(entries, 4096));
    }
    const rootInode = { mode: 0o40755, links: 2 + directories, union: first + blocks, size: rootBlocks * 4096 };
    raw.inode(ROOT, rootInode);
    const image = raw.finish();
    expect(cpuTime(() => expect(() => readTree(image)).toThrow(/\[overlap\]/))).toBeLessThan(2000);
  });

  it("names of xattrs that collide or differ late are sorted in time", () => {
    const entries = Array.from({ length: 1000 }, (_, i) => rawXattr(1, `${"x".repeat(240)}${i}`));
    const image = imageWithXattrs(xattrArea([], entries));
    const time = cpuTime(() => {
      const [file] = [...readTree(image).entries.values()];
      expect(file?.stat.xattrs.size).toBe(1000);
    });
    expect(time).toBeLessThan(2000);
    const twice = imageWithXattrs(xattrArea([], [...entries, entries[500] as Buffer]));
    expect(() => readTree(twice)).toThrow(/is there twice: user.xxx.*\[xattr twice\]/);
  });

  it("a dump can be limited where xattrs are shared to make it long", async () => {
    const value = "v".repeat(20000);
    const dump = [
      "/ 0 40755 2 0 0 0 0.0 - - -",
      ...Array.from({ length: 100 }, (_, i) => `/${i} 0 100644 1 0 0 0 0.0 - - - user.x=${value}`),
    ];
    const image = await imageOfDump(`${dump.join("\n")}\n`, { version: 1, dialect: "c" });
    expect(image.length).toBeLessThan(60_000);
    expect(dumpOfImage(image).length).toBeGreaterThan(2_000_000);
    expect(() => dumpImage(image, () => {}, { textLimit: 1_000_000 })).toThrow(/more than 1000000 bytes/);
  });
});

describe("nesting", () => {
  const nested = (levels: number) => {
    const root = new Directory(stat);
    let directory = root;
    for (let i = 0; i < levels; i++) {
      const next = new Directory(stat);
      directory.entries.set("d", next);
      directory = next;
    }
    return root;
  };

  it("of 2047 levels is read", () => {
    const image = imageOfTree(nested(2047), { version: 1, dialect: "rs" });
    expect(dumpOfImage(image).split("\n").length).toBe(2049);
    let depth = 0;
    let directory: Directory | undefined = readTree(image);
    for (; directory !== undefined; depth++) directory = directory.entries.get("d") as Directory | undefined;
    expect(depth).toBe(2048);
    expect(checkImage(image).findings).toEqual([]);
  });

  it("of 2048 levels is refused, with the path", () => {
    const image = imageOfTree(nested(2048), { version: 1, dialect: "rs" });
    let refused: unknown;
    try {
      readTree(image);
    } catch (error) {
      refused = error;
    }
    expect(refused).toMatchObject({ code: "limit", path: "/d".repeat(2048) });
    expect(String(refused)).toMatch(/deeper than 2048 levels/);
  });
});

describe("long lines and large xattrs", () => {
  it("are dumped piece by piece", () => {
    const xattrs = new Map<string, string>();
    for (let i = 0; i < 12; i++) xattrs.set(`user.x${i}`, `\x01=${String.fromCharCode(i)}`.repeat(20000));
    const root = new Directory(stat);
    // In two files, as more than 256 KiB fit into the shared table only.
    for (const name of ["f", "g"]) {
      const bytes = new Uint8Array(60).fill(1);
      root.entries.set(name, new Leaf({ ...stat, xattrs }, { kind: "inline", bytes }));
    }
    const image = imageOfTree(root, { version: 1, dialect: "rs" });
    const tree = readTree(image);
    expect(tree.entries.get("f")?.stat.xattrs).toEqual(xattrs);
    const text = dumpOfImage(image);
    expect(text.length).toBeGreaterThan(2_000_000);
    expect([...dumpTree(tree, "canonical")].join("")).toBe(text);
  });

  it("two spellings of one name count as one", () => {
    const twice = imageWithXattrs(xattrArea([], [rawXattr(1, "a"), rawXattr(0, "user.a")]));
    expect(() => readTree(twice)).toThrow(/xattr twice/);
    const once = imageWithXattrs(xattrArea([], [rawXattr(0, "user.a", "1"), rawXattr(0, "use", "2")]));
    expect(dumpOfImage(once)).toContain("/f 0 100644 1 0 0 0 0.0 - - - use=2 user.a=1\n");
  });

  it("shared xattrs may overlap and repeat over inodes, but not in one", () => {
    const entry = rawXattr(1, "a", "value");
    const id = (40 * 32 + 64 + 16) / 4;
    const image = imageWithXattrs(xattrArea([id + 4], []), entry);
    expect(dumpOfImage(image)).toContain("user.a=value");
    const twice = imageWithXattrs(xattrArea([id + 8, id + 8], []), Buffer.concat([Buffer.alloc(8), entry]));
    expect(() => readTree(twice)).toThrow(ComposefsError);
  });
});

describe("what is found is told", () => {
  it("with the rule and the path", () => {
    const raw = new RawImage(8192);
    const tail = direntBlock([...dots(ROOT, ROOT), { name: "f\x01", nid: 40, type: 1 }]);
    raw.inode(ROOT, { mode: 0o40755, links: 2, size: tail.length, layout: 2, tail });
    raw.inode(40, { mode: 0o100644, layout: 4, size: 5, union: 7, xattrs: xattrArea([], [rawXattr(4, "overlay.x")]) });
    raw.put(100, Buffer.from([1]));
    const image = raw.finish();
    const { findings, findingCount, inodes } = checkImage(image);
    expect(inodes).toBe(2);
    expect(findingCount).toBe(3);
    expect(findings.map(({ rule, path }) => [rule, path])).toEqual([
      ["overlay xattr", "/f\\x01"],
      ["chunk bits", "/f\\x01"],
      ["header padding", undefined],
    ]);
    expect(findings[1]?.message).toMatch(/\(inode 40\)/);
    expect(() => imageObjects(image, { algorithm: "sha256" })).toThrow(/\/f\\x01: .*\[overlay xattr\]/);
  });

  it("also when the image is not valid", () => {
    const image = imageWithXattrs(xattrArea([], [rawXattr(9, "a")]));
    const { findings, invalid } = checkImage(image);
    expect(findings).toEqual([
      { rule: "xattr name index", path: "/f", message: "unknown xattr name index 9 (inode 40)" },
    ]);
    expect(invalid?.message).toBe(
      "not a valid composefs image: /f: unknown xattr name index 9 (inode 40) [xattr name index]",
    );
  });

  it("up to a thousand times, and counted beyond", () => {
    const root = new Directory(stat);
    for (let i = 0; i < 1500; i++) {
      root.entries.set(`f${i}`, new Leaf(stat, { kind: "external", size: 5000, digest: "ab".repeat(32), path: "x/y" }));
    }
    const image = imageOfTree(root, { version: 0, dialect: "c" });
    const { findings, findingCount } = checkImage(image, { repository: true });
    expect(findings.length).toBe(1000);
    expect(findingCount).toBe(1500);
    expect(findings[0]).toMatchObject({ rule: "redirect", path: "/f0" });
    expect(checkImage(image).findings).toEqual([]);
    expect(imageObjects(image, { algorithm: "sha256" })).toEqual(["ab".repeat(32)]);
    expect(() => imageObjects(image, { algorithm: "sha256", repository: true })).toThrow(/\[redirect\]/);
  });
});

describe("use", () => {
  const image = imageOfTree(new Directory(stat), { version: 1, dialect: "rs" });

  it("after disposal is an error", () => {
    const reader = new ErofsReader(image);
    reader[Symbol.dispose]();
    reader[Symbol.dispose]();
    expect(() => reader.load()).toThrow(/is disposed/);
  });

  it("of objects without an algorithm is an error", () => {
    using reader = new ErofsReader(image);
    expect(() => reader.objects()).toThrow(/algorithm/);
    expect([...reader.pieces()]).toEqual([]);
  });

  it("in any order and repeatedly gives the same", () => {
    using reader = new ErofsReader(image, { algorithm: "sha256" });
    const text = () => [...reader.pieces()].map((piece) => Buffer.from(piece).toString("latin1")).join("");
    reader.dump();
    const dump = text();
    reader.tree();
    reader.dump();
    expect(text()).toBe(dump);
    expect(reader.check(true)).toBe(0);
    expect(text()).toBe("");
    expect(reader.lookup("/")).toBe(true);
    expect(text()).not.toBe("");
    reader.objects();
    expect(text()).toBe("");
    reader.dump();
    expect(text()).toBe(dump);
  });

  it("of more memory than there is, or than is allowed, is refused cleanly", () => {
    expect(() => new ErofsReader(image, { limit: 4096 })).toThrow(/more than the limit of 4096/);
    expect(() => new ErofsReader(image, { verify: () => expect.fail("wrong digest") })).toThrow(/wrong digest/);
  });
});
