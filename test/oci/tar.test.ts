// The tar reader, rule by rule (docs/spec/oci.md, section 5.1).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ComposefsError } from "../../src/error.ts";
import type { TarEntry } from "../../src/oci/tar-entry.ts";
import { TarReader } from "../../src/oci/tar.ts";
import { base256, END, entry, header, padded, pax, type RawHeader, record } from "./tar-bytes.ts";

interface Seen {
  entries: (TarEntry & { content: string | undefined })[];
  inline: Buffer;
}

/** Everything that the reader says about an archive, given in chunks of `step` bytes. */
function read(archive: Uint8Array, step = archive.length || 1): Seen {
  const entries: Seen["entries"] = [];
  const inline: Uint8Array[] = [];
  const reader = new TarReader("layer", {
    inline: (bytes) => inline.push(bytes.slice()),
    entry: (found, content) => {
      const text = found.type === "file" ? Buffer.from(content ?? []).toString("latin1") : undefined;
      entries.push({ ...found, content: text });
    },
    content: (bytes) => {
      const last = entries[entries.length - 1] as Seen["entries"][number];
      last.content = (last.content ?? "") + Buffer.from(bytes).toString("latin1");
    },
  });
  for (let at = 0; at < archive.length; at += step) reader.push(archive.subarray(at, at + step));
  reader.finish();
  expect(reader.position).toBe(archive.length);
  expect(reader.entries).toBe(entries.length);
  return { entries, inline: Buffer.concat(inline) };
}

function only(...parts: Uint8Array[]): Seen["entries"][number] {
  const { entries } = read(Buffer.concat([...parts, END]));
  expect(entries).toHaveLength(1);
  return entries[0] as Seen["entries"][number];
}

function refused(...parts: Uint8Array[]): ComposefsError {
  try {
    read(Buffer.concat(parts));
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    expect((error as ComposefsError).code).toBe("invalid");
    expect((error as ComposefsError).message).toMatch(/^layer: .*at byte \d+: /);
    return error as ComposefsError;
  }
  throw new Error("the archive was accepted");
}

describe("numbers", () => {
  test.each([
    ["0000644", 0o644],
    ["644 ", 0o644],
    ["  644\0", 0o644],
    ["\t644\v\f", 0o644],
    ["+644", 0o644],
    ["644\0junk", 0o644],
    ["", 0],
    ["      ", 0],
    ["0100755", 0o755],
    [base256(0o4711n, 8), 0o4711],
  ])("mode %j", (mode, expected) => {
    expect(only(entry({ name: "f", mode })).stat.mode).toBe(expected);
  });

  test.each(["6448", "64 4", "0x1a4", "-644", "++644", "+", "644+"])("octal %j is refused", (mode) => {
    expect(refused(entry({ name: "f", mode }), END).message).toContain("invalid octal mode field");
  });

  test.each([
    ["2^32+5", base256(2n ** 32n + 5n, 8), 5],
    ["2^56-1", base256(2n ** 56n - 1n, 8), 0xffffffff],
    ["2^31", base256(2n ** 31n, 8), 2 ** 31],
  ])("owner %s keeps its low 32 bits", (_, uid, expected) => {
    const { stat } = only(entry({ name: "f", uid, gid: uid }));
    expect([stat.uid, stat.gid]).toEqual([expected, expected]);
  });

  test.each([
    ["all ones", "\xff".repeat(12), -1n],
    [
      "-5",
      `\xff\xff\xff\xff${Buffer.from(new BigInt64Array([-5n]).buffer)
        .reverse()
        .toString("latin1")}`,
      -5n,
    ],
    ["2^53+1", base256(2n ** 53n + 1n, 12), 2n ** 53n + 1n],
    ["octal", "14654112345", 0o14654112345n],
    ["12 digits", "777777777777", 0o777777777777n],
  ])("mtime %s", (_, mtime, expected) => {
    expect(only(entry({ name: "f", mtime })).stat.mtimeSec).toBe(expected);
  });

  test("sizes that pass 2^53 and 2^64", () => {
    expect(refused(header({ name: "f", size: base256(2n ** 64n - 1n, 12) })).message).toContain("invalid size");
    expect(refused(header({ name: "f", size: base256(2n ** 63n, 12) })).message).toContain("invalid size");
    expect(refused(header({ name: "f", size: base256(2n ** 50n, 12) })).message).toContain("1125899906842624 bytes");
  });

  test("a size above 4 GiB is followed exactly", () => {
    const reader = new TarReader("layer", {});
    const size = 2 ** 32 + 700;
    reader.push(header({ name: "big", size: base256(BigInt(size), 12) }));
    expect(reader.external().size).toBe(size);
    reader.push(Buffer.alloc(512 - (size % 512)));
    reader.push(entry({ name: "next" }, "x"));
    reader.push(END);
    reader.finish();
    expect(reader.entries).toBe(2);
    expect(reader.position).toBe(512 + 2 ** 32 + 1024 + 1024 + 1024);
  });

  test("devices take octal only, and one bad field refuses any entry", () => {
    expect(refused(entry({ name: "c", type: "3", devmajor: base256(1n, 8) })).message).toContain("device major");
    expect(refused(entry({ name: "f", devminor: "9" })).message).toContain("device minor");
    expect(refused(entry({ name: "h", type: "1", link: "f", uid: "x" })).message).toContain("uid");
    expect(refused(pax([["uid", "7"]]), entry({ name: "f", uid: "x" })).message).toContain("uid");
  });

  test.each([
    [1, 3, 0x103],
    [4095, 1048575, 0xfffff_fff],
    [8, 257, 0x100801],
  ])("device %i:%i", (devmajor, devminor, expected) => {
    expect(only(entry({ name: "d", type: "4", devmajor, devminor })).rdev).toBe(expected >>> 0);
  });

  test("device numbers that do not fit, or are missing", () => {
    expect(refused(entry({ name: "d", type: "3", devmajor: 4096 })).message).toContain("4095");
    expect(refused(entry({ name: "d", type: "3", devminor: 1048576 })).message).toContain("1048575");
    expect(refused(entry({ name: "d", type: "3", magic: "v7" })).message).toContain("without device numbers");
  });
});

describe("checksum", () => {
  test("a wrong one names both sums, entry and offset", () => {
    const error = refused(entry({ name: "ok" }), entry({ name: "usr/bad", checksum: "001234" }));
    expect(error.message).toMatch(/entry "usr\/bad" at byte 512: checksum mismatch: expected 668, computed \d+/);
    expect(error.path).toBe("usr/bad");
  });

  test("signed sums are not accepted", () => {
    const block = header({ name: "\xe9" });
    let sum = 0;
    for (const byte of block) sum += byte > 127 ? byte - 256 : byte;
    for (let i = 148; i < 156; i++) sum += 32 - (block[i] as number);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    expect(refused(block).message).toContain("checksum mismatch");
  });

  test("what is no tar at all", () => {
    expect(refused(Buffer.from("#!/bin/sh\n".repeat(60))).message).toContain("invalid octal checksum field");
  });
});

describe("paths", () => {
  test("prefix of ustar, not of gnu", () => {
    expect(only(entry({ name: "n", prefix: "p/q" })).path).toBe("p/q/n");
    expect(only(entry({ name: "n", prefix: "p/q", magic: "gnu" })).path).toBe("n");
    expect(only(entry({ name: "n", prefix: "p/q", magic: "v7" })).path).toBe("n");
  });

  test("a full name field has no NUL", () => {
    expect(only(entry({ name: "x".repeat(100) })).path).toBe("x".repeat(100));
    expect(only(entry({ name: "x".repeat(100), prefix: "y".repeat(155) })).path).toBe(
      `${"y".repeat(155)}/${"x".repeat(100)}`,
    );
  });

  test("bytes that are no UTF-8 stay as they are", () => {
    expect(only(entry({ name: "a\xff\xfe" })).path).toBe("a\xff\xfe");
  });

  test("trailing slashes and dots stay: the merge normalizes", () => {
    expect(only(entry({ name: "./a/", type: "5" })).path).toBe("./a/");
    expect(only(entry({ name: "a/", type: "0" })).type).toBe("file");
  });

  test("empty, NUL, too long", () => {
    expect(refused(entry({ name: "" })).message).toContain("empty path");
    expect(refused(pax([["path", "a\0b"]]), entry({ name: "f" })).message).toContain("NUL in a path");
    expect(refused(pax([["path", `d/${"n".repeat(256)}`]]), entry({ name: "f" })).message).toContain(
      "name of 256 bytes",
    );
    expect(only(pax([["path", `${"n".repeat(255)}/${"m".repeat(255)}`]]), entry({ name: "f" })).path).toHaveLength(511);
    expect(refused(pax([["linkpath", "a\0b"]]), entry({ name: "l", type: "2" })).message).toContain("NUL in a link");
  });
});

describe("types", () => {
  test.each([
    ["0", "file"],
    ["\0", "file"],
    ["7", "file"],
    ["1", "hardlink"],
    ["2", "symlink"],
    ["3", "char"],
    ["4", "block"],
    ["5", "directory"],
    ["6", "fifo"],
  ])("%j is %s", (type, expected) => {
    const found = only(entry({ name: "e", type, link: "target" }));
    expect(found.type).toBe(expected);
    expect(found.link).toBe(expected === "hardlink" || expected === "symlink" ? "target" : "");
  });

  test.each(["V", "D", "s", "M", "A", "X", "8"])("%j is not supported", (type) => {
    expect(refused(entry({ name: "e", type })).message).toContain(`unsupported entry type '${type}'`);
  });

  test("extension flags of V7 headers are unknown types", () => {
    for (const type of ["x", "L", "K"]) {
      expect(refused(entry({ name: "e", type, magic: "v7" }, "data")).message).toContain("unsupported entry type");
    }
  });

  test("a symlink may have no target", () => {
    expect(only(entry({ name: "l", type: "2" })).link).toBe("");
  });

  test("payload of other types is skipped by size", () => {
    const payload = "p".repeat(700);
    const archive = Buffer.concat([
      entry({ name: "d", type: "5" }, payload),
      entry({ name: "l", type: "2", link: "t" }, payload),
      entry({ name: "h", type: "1", link: "t" }, payload),
      entry({ name: "f" }, "ok"),
      END,
    ]);
    const { entries, inline } = read(archive);
    expect(entries.map(({ path }) => path)).toEqual(["d", "l", "h", "f"]);
    expect(inline.equals(archive)).toBe(true);
  });

  test("a hard link with a size and no data loses the thread", () => {
    const error = refused(
      header({ name: "h", type: "1", link: "t", size: 512 }),
      entry({ name: "f" }, "x"),
      entry({ name: "g" }, "y"),
    );
    expect(error.message).toContain("checksum mismatch");
  });

  test("sparse files, in both dialects", () => {
    expect(refused(entry({ name: "s", type: "S", magic: "gnu" })).message).toContain("sparse");
    const markers: [string, string][][] = [
      [
        ["GNU.sparse.major", "1"],
        ["GNU.sparse.minor", "0"],
      ],
      [["GNU.sparse.map", "0,1"]],
      [
        ["GNU.sparse.offset", "0"],
        ["GNU.sparse.numbytes", "1"],
      ],
    ];
    for (const records of markers) {
      expect(refused(pax(records), entry({ name: "s" })).message).toContain("sparse");
    }
    const harmless: [string, string][] = [
      ["GNU.sparse.realsize", "9"],
      ["GNU.sparse.size", "9"],
      ["GNU.sparse.name", "real"],
    ];
    expect(only(pax(harmless), entry({ name: "s" })).path).toBe("real");
  });
});

describe("GNU long names", () => {
  const long = "d/".repeat(200);
  test("replace path and link; one NUL goes", () => {
    const name = entry({ name: "././@LongLink", type: "L", magic: "gnu" }, `${long}f\0`);
    const link = entry({ name: "././@LongLink", type: "K", magic: "gnu" }, `${long}t`);
    const found = only(name, link, entry({ name: "short", type: "2", link: "s", magic: "gnu" }));
    expect([found.path, found.link]).toEqual([`${long}f`, `${long}t`]);
  });

  test("pax wins over them, whatever the order", () => {
    const name = entry({ name: "L", type: "L", magic: "gnu" }, "from-gnu\0");
    expect(only(pax([["path", "from-pax"]]), name, entry({ name: "n" })).path).toBe("from-pax");
    expect(only(name, pax([["path", "from-pax"]]), entry({ name: "n" })).path).toBe("from-pax");
  });

  test("duplicates", () => {
    const name = entry({ name: "L", type: "L" }, "a\0");
    expect(refused(name, name, entry({ name: "n" })).message).toContain("duplicate GNU long name");
    const link = entry({ name: "K", type: "K" }, "a\0");
    expect(refused(link, link, entry({ name: "n" })).message).toContain("duplicate GNU long link");
    expect(refused(pax(""), pax(""), entry({ name: "n" })).message).toContain("duplicate pax extended header");
  });

  test("all extension data before an entry: at most 1 MiB", () => {
    const half = "a/".repeat(1 << 18);
    const name = entry({ name: "L", type: "L" }, half);
    expect(only(name, entry({ name: "K", type: "K" }, half), entry({ name: "n", type: "2" })).path).toBe(half);
    expect(refused(name, entry({ name: "K", type: "K" }, `${half}x`)).message).toContain("more than 1 MiB");
    expect(refused(header({ name: "x", type: "x", size: base256(2n ** 62n, 12) })).message).toContain(
      "more than 1 MiB",
    );
  });
});

describe("pax records", () => {
  const value = (key: string, text: string) => only(pax([[key, text]]), entry({ name: "f", type: "2", link: "t" }));

  test("path, linkpath, uid, gid", () => {
    expect(value("path", "p\xff").path).toBe("p\xff");
    expect(value("linkpath", "l\xff").link).toBe("l\xff");
    expect(value("uid", "4294967301").stat.uid).toBe(5);
    expect(value("gid", "+007").stat.gid).toBe(7);
  });

  test("size governs what follows", () => {
    const archive = [pax([["size", "3"]]), header({ name: "f", size: 0 }), padded("abc")];
    expect(only(...archive).content).toBe("abc");
    const huge = [pax([["size", "3"]]), header({ name: "f", size: base256(2n ** 60n, 12) }), padded("abc")];
    expect(only(...huge).content).toBe("abc");
    expect(refused(pax([["size", String(2n ** 63n)]]), header({ name: "f" })).message).toContain("invalid size");
  });

  test.each([
    ["1700000000", 1700000000n, 0],
    ["5.", 5n, 0],
    ["5.5", 5n, 500000000],
    ["5.000000001", 5n, 1],
    ["5.1234567899", 5n, 123456789],
    ["5.12x", 5n, 0],
    ["+5.5", 5n, 500000000],
    ["18446744073709551615", -1n, 0],
  ])("mtime %s", (text, seconds, nanoseconds) => {
    const { stat } = value("mtime", text);
    expect([stat.mtimeSec, stat.mtimeNsec]).toEqual([seconds, nanoseconds]);
  });

  test("two mtimes: seconds of the last, nanoseconds of the first", () => {
    const records: [string, string][] = [
      ["mtime", "5.25"],
      ["mtime", "7.75"],
    ];
    const { stat } = only(pax(records), entry({ name: "f" }));
    expect([stat.mtimeSec, stat.mtimeNsec]).toEqual([7n, 250000000]);
  });

  test.each([
    ["mtime", "-5.5"],
    ["mtime", ".5"],
    ["mtime", ""],
    ["mtime", "18446744073709551616"],
    ["uid", "-1"],
    ["uid", " 1"],
    ["gid", "1x"],
    ["size", "0x10"],
    ["size", ""],
  ])("%s=%j is refused", (key, text) => {
    const error = refused(pax([[key, text]]), entry({ name: "f" }));
    expect(error.message).toContain(`invalid pax ${key} value ${JSON.stringify(text)}`);
  });

  test("xattrs: raw values, first `=` splits, the last one wins", () => {
    const records: [string, string][] = [
      ["SCHILY.xattr.user.a", "b=c"],
      ["SCHILY.xattr.user.bin", "\0\n\xff"],
      ["SCHILY.xattr.user.twice", "1"],
      ["SCHILY.xattr.user.twice", "2"],
      ["SCHILY.acl.access", "ignored"],
      ["LIBARCHIVE.xattr.user.x", "ignored"],
      ["comment", "ignored"],
    ];
    expect([...only(pax(records), entry({ name: "f" })).stat.xattrs]).toEqual([
      ["user.a", "b=c"],
      ["user.bin", "\0\n\xff"],
      ["user.twice", "2"],
    ]);
  });

  test("a length that is no number ends the records", () => {
    const good = record("path", "good");
    for (const rest of ["\0\0\0\0", "x path=bad\n", "path=bad", " 12 path=bad\n", "-12 path=bad\n"]) {
      expect(only(pax(good + rest), entry({ name: "f" })).path).toBe("good");
    }
  });

  test("lengths with a plus sign and zeros", () => {
    expect(only(pax("+012 path=a\n"), entry({ name: "f" })).path).toBe("a");
  });

  test.each([
    ["too long", "99 path=a\n"],
    ["no newline", "10 path=ab"],
    ["newline elsewhere", "9 path=ab\n"],
    ["no equals", "8 path\n\n"],
    ["length 0", "0 path=a\n"],
    ["length of the length", "3 path=a\n"],
  ])("malformed: %s", (_, text) => {
    expect(refused(pax(text), entry({ name: "f" })).message).toContain("malformed pax record");
  });

  test("keys must be UTF-8", () => {
    expect(refused(pax([["SCHILY.xattr.user.\xff", "v"]]), entry({ name: "f" })).message).toContain("UTF-8");
    const name = Buffer.from("user.ä", "utf8").toString("latin1");
    expect([...only(pax([[`SCHILY.xattr.${name}`, "v"]]), entry({ name: "f" })).stat.xattrs.keys()]).toEqual([name]);
  });

  test("a megabyte of digits is refused quickly", () => {
    const start = performance.now();
    refused(pax([["uid", "9".repeat(1_000_000)]]), entry({ name: "f" }));
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe("global headers", () => {
  test("apply to nothing and drop what is pending", () => {
    const global = entry({ name: "g", type: "g" }, record("path", "global"));
    const { entries } = read(
      Buffer.concat([global, entry({ name: "a" }), pax([["path", "lost"]]), global, entry({ name: "b" }), END]),
    );
    expect(entries.map(({ path }) => path)).toEqual(["a", "b"]);
  });

  test("of any magic, at most 1 MiB", () => {
    expect(only(entry({ name: "g", type: "g", magic: "v7" }, "x"), entry({ name: "a" })).path).toBe("a");
    expect(refused(header({ name: "g", type: "g", size: (1 << 20) + 1 })).message).toContain("over 1 MiB");
  });
});

describe("the end", () => {
  const file = entry({ name: "f" }, "content");
  const large = entry({ name: "big" }, "c".repeat(600));
  const zero = Buffer.alloc(512);

  test.each([
    ["two zero blocks", [file, END]],
    ["nothing", []],
    ["no end blocks", [file]],
    ["no end blocks after a bare header", [entry({ name: "d", type: "5" })]],
    ["a single zero block", [file, zero]],
    ["a zero block inside", [file, zero, entry({ name: "g" }), END]],
    ["inside the padding", [file.subarray(0, 512 + 9)]],
    ["padding missing altogether", [file.subarray(0, 512 + 7)]],
    ["inside the padding of a large file", [large.subarray(0, 512 + 700)]],
    ["data behind the end", [file, END, Buffer.from("garbage that is no header")]],
    ["another archive behind the end", [file, END, file, END]],
  ])("accepted: %s", (_, parts: Uint8Array[]) => {
    const archive = Buffer.concat(parts);
    const { inline, entries } = read(archive);
    const external = entries.reduce((sum, { size }) => sum + (size > 64 ? size : 0), 0);
    expect(inline.length).toBe(archive.length - external);
  });

  test("what is behind the end is not parsed", () => {
    expect(read(Buffer.concat([file, END, entry({ name: "late" }), END])).entries).toHaveLength(1);
  });

  test.each([
    ["inside a header", [file, header({ name: "g" }).subarray(0, 511)]],
    ["one byte of a header", [file, Buffer.from("x")]],
    ["after a single zero block", [file, zero, Buffer.alloc(17)]],
    ["inside small content", [file.subarray(0, 512 + 6)]],
    ["inside large content", [large.subarray(0, 512 + 599)]],
    ["inside payload", [entry({ name: "d", type: "5" }, "x".repeat(99)).subarray(0, 600)]],
    ["inside extension data", [pax([["path", "p"]]).subarray(0, 515)]],
    ["behind an extension header", [pax([["path", "p"]])]],
    ["inside an extension header's padding", [pax([["path", "p"]]).subarray(0, 700)]],
    ["an extension header before the end blocks", [pax([["path", "p"]]), END]],
    ["an extension header before a single zero block", [pax([["path", "p"]]), zero]],
    ["inside a global header", [entry({ name: "g", type: "g" }, "x".repeat(99)).subarray(0, 600)]],
  ])("refused: %s", (_, parts: Uint8Array[]) => {
    expect(refused(...parts).code).toBe("invalid");
  });
});

describe("splitting", () => {
  test("64 bytes stay inline, 65 do not, and padding always does", () => {
    const at = (size: number) => read(Buffer.concat([entry({ name: "f" }, "c".repeat(size)), END])).inline.length;
    expect(at(64)).toBe(512 + 512 + 1024);
    expect(at(65)).toBe(512 + 447 + 1024);
    expect(at(512)).toBe(512 + 1024);
    expect(at(513)).toBe(512 + 511 + 1024);
  });

  test("an object where no content belongs", () => {
    const reader = new TarReader("layer", {});
    reader.push(entry({ name: "small" }, "x"));
    expect(() => reader.external()).toThrow(/an object where no content of a file belongs/);
    const second = new TarReader("layer", {});
    second.push(entry({ name: "big" }, "c".repeat(600)).subarray(0, 600));
    expect(() => second.external()).toThrow(ComposefsError);
  });
});

const arbitraryEntry: fc.Arbitrary<Buffer> = fc
  .record({
    path: fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 }).map((s) => s.replace(/[\0]/g, "_")),
    type: fc.constantFrom("0", "\0", "7", "1", "2", "3", "4", "5", "6"),
    mode: fc.nat(0o7777),
    size: fc.oneof(fc.nat(200), fc.nat(3000)),
    long: fc.boolean(),
    xattr: fc.option(fc.string({ unit: "binary-ascii", maxLength: 80 }), { nil: undefined }),
  })
  .map(({ path, type, mode, size, long, xattr }) => {
    const parts: Buffer[] = [];
    if (long) parts.push(entry({ name: "L", type: "L", magic: "gnu" }, `${path}\0`));
    if (xattr !== undefined) parts.push(pax([["SCHILY.xattr.user.x", xattr]]));
    const fields: RawHeader = { name: long ? "short" : path, type, mode, link: "target" };
    parts.push(entry(fields, "z".repeat(size)));
    return Buffer.concat(parts);
  });

describe("properties", () => {
  test("the chunks in which an archive comes do not matter", () => {
    fc.assert(
      fc.property(fc.array(arbitraryEntry, { maxLength: 8 }), fc.integer({ min: 1, max: 1500 }), (entries, step) => {
        const archive = Buffer.concat([...entries, END]);
        const whole = read(archive);
        expect(whole.entries).toHaveLength(entries.length);
        expect(read(archive, step)).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });

  test("a cut is refused or keeps every complete entry", () => {
    const parts = [
      entry({ name: "d", type: "5" }),
      entry({ name: "small" }, "12345"),
      pax([["path", "renamed"]]),
      entry({ name: "large" }, "c".repeat(130)),
      END,
    ];
    const archive = Buffer.concat(parts);
    // Where an archive may end: at the start of an entry with its extensions, in padding behind content, from the end on.
    const allowed = (at: number) =>
      [0, 512, 4096, 4608].includes(at) || (at >= 1029 && at <= 1536) || (at >= 3072 + 130 && at <= 3584);
    expect(archive.length).toBe(4608);
    for (let at = 0; at <= archive.length; at++) {
      let accepted = true;
      try {
        read(archive.subarray(0, at));
      } catch (error) {
        expect(error).toBeInstanceOf(ComposefsError);
        accepted = false;
      }
      expect([at, accepted]).toEqual([at, allowed(at)]);
    }
  });

  test("hostile bytes end in a result or a ComposefsError", () => {
    const seed = Buffer.concat([
      entry({ name: "d", type: "5" }),
      pax([
        ["path", "renamed"],
        ["mtime", "5.5"],
        ["SCHILY.xattr.user.x", "v"],
      ]),
      entry({ name: "large" }, "c".repeat(130)),
      entry({ name: "L", type: "L", magic: "gnu" }, "long\0"),
      entry({ name: "l", type: "2", link: "t", magic: "gnu" }),
      END,
    ]);
    const mutation = fc.tuple(fc.nat(seed.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 12 }), fc.boolean(), (mutations, repair) => {
        const archive = Buffer.from(seed);
        for (const [at, value] of mutations) archive[at] = value;
        // With a right checksum the mutation reaches the fields behind it.
        if (repair) for (let at = 0; at + 512 <= archive.length; at += 512) repairChecksum(archive, at);
        try {
          read(archive);
        } catch (error) {
          expect(error).toBeInstanceOf(ComposefsError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

function repairChecksum(archive: Buffer, at: number): void {
  const block = archive.subarray(at, at + 512);
  if (block.every((byte) => byte === 0) || block.toString("latin1", 257, 262) !== "ustar") return;
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}
