// The image writer under wrong use, hostile input and scarce memory: refusals, never traps.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ErofsWriter, type ErofsWriterOptions } from "../../src/core/erofs.ts";
import { type Core, newCore } from "../../src/core/load.ts";
import { ComposefsError } from "../../src/error.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { randomTree } from "../fixtures/random-tree.ts";

const OPTIONS: ErofsWriterOptions = { version: 1, dialect: "rs", objects: "sha256", image: "sha256" };
const ROOT = Buffer.from("/ 0 40755 2 0 0 0 0.0 - - -\n");

/** The error of a call; `internal` would be a trap. */
function errorOf(call: () => unknown): ComposefsError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    expect((error as ComposefsError).code).not.toBe("internal");
    return error as ComposefsError;
  }
  throw new Error("nothing was refused");
}

/** Writes and pulls to the end; answers the size, or the refusal. */
function run(data: Uint8Array, kind: "dump" | "records", options = OPTIONS): number | ComposefsError {
  using writer = new ErofsWriter(options);
  try {
    writer.push(data, kind);
    const { size } = writer.finish();
    let pulled = 0;
    for (let piece; (piece = writer.pullWindow()) !== undefined; ) pulled += piece.length;
    expect(pulled).toBe(size);
    expect(writer.digest()).toMatch(/^[0-9a-f]{64}$/);
    return size;
  } catch (error) {
    expect(error).toBeInstanceOf(ComposefsError);
    expect(["invalid", "limit"]).toContain((error as ComposefsError).code);
    return error as ComposefsError;
  }
}

describe("wrong use", () => {
  test("dump text and records do not mix", () => {
    using writer = new ErofsWriter(OPTIONS);
    writer.push(ROOT);
    expect(errorOf(() => writer.push(ROOT, "records"))).toMatchObject({ code: "usage" });
    writer.finish();
  });

  test("a finished writer takes nothing and finishes once", () => {
    using writer = new ErofsWriter(OPTIONS);
    writer.push(ROOT);
    writer.finish();
    expect(errorOf(() => writer.push(ROOT)).message).toMatch(/finished/);
    expect(errorOf(() => writer.finish()).message).toMatch(/finished/);
    expect(errorOf(() => writer.window()).code).toBe("limit");
    expect(errorOf(() => writer.advance(1)).code).toBe("usage");
  });

  test("a failed writer stays failed", () => {
    using writer = new ErofsWriter(OPTIONS);
    errorOf(() => writer.push(Buffer.from("x\n")));
    expect(errorOf(() => writer.push(ROOT)).message).toMatch(/failed before/);
    expect(errorOf(() => writer.finish()).message).toMatch(/failed before/);
    expect(writer.pullWindow()).toBeUndefined();
    expect(writer.digest()).toBe("");
  });

  test("nothing comes out before the end of the input", () => {
    using writer = new ErofsWriter(OPTIONS);
    writer.push(ROOT);
    expect(writer.pullWindow()).toBeUndefined();
    expect(writer.digest()).toBe("");
    writer.finish();
    expect(writer.digest()).toBe("");
    while (writer.pullWindow() !== undefined);
    expect(writer.digest()).toBe(writer.digest());
    expect(writer.digest()).toMatch(/^[0-9a-f]{64}$/);
  });

  test("more than the window holds cannot be consumed", () => {
    using writer = new ErofsWriter(OPTIONS);
    const window = writer.window(10);
    expect(errorOf(() => writer.advance(window.length + 1)).code).toBe("usage");
  });

  test("versions that do not exist", () => {
    for (const [version, maxVersion, dialect] of [
      [3, 3, "rs"],
      [0, 1, "rs"],
      [1, 0, "c"],
      [1, 2, "c"],
    ] as const) {
      using writer = new ErofsWriter({ ...OPTIONS, version: version as 0, maxVersion: maxVersion as 0, dialect });
      expect(errorOf(() => writer.push(ROOT))).toMatchObject({ code: "usage" });
    }
  });

  test("a disposed writer", () => {
    const writer = new ErofsWriter(OPTIONS);
    writer[Symbol.dispose]();
    writer[Symbol.dispose]();
    expect(errorOf(() => writer.push(ROOT)).code).toBe("usage");
  });

  test("the list twins of the windows give the same image", () => {
    const instance = newCore();
    const writer = new instance.erofs.Writer({
      minVersion: 1,
      maxVersion: 1,
      dialect: "rs",
      objects: "sha256",
      image: "sha256",
    });
    writer.pushDump(ROOT);
    const { size } = writer.finish();
    const pieces: Uint8Array[] = [];
    for (let piece; (piece = writer.pull(1000)).length > 0; ) pieces.push(piece);
    const viaLists = Buffer.concat(pieces);
    expect(viaLists.length).toBe(Number(size));
    using other = new ErofsWriter(OPTIONS);
    other.push(ROOT);
    other.finish();
    const viaWindow = Buffer.from(other.pullWindow() as Uint8Array);
    expect(viaLists.equals(viaWindow)).toBe(true);
    while (other.pullWindow() !== undefined);
    expect(Buffer.from(writer.digest()).toString("hex")).toBe(other.digest());
  });
});

describe("hostile input", () => {
  test("lines longer than the window", () => {
    const name = Array.from({ length: 15 }, () => "n".repeat(250)).join("/");
    const lines = ROOT.toString();
    const value = "\\x00".repeat(65_535);
    const xattrs = Array.from({ length: 12 }, (_, i) => ` user.${i}=${value}`).join("");
    const long = `/f 0 100644 1 0 0 0 0.0 - - -${xattrs}\n`;
    expect(long.length).toBeGreaterThan(3 << 20);
    // An inode cannot hold that much, so the line is read and the layout refuses it.
    const error = run(Buffer.from(lines + long), "dump");
    expect(error).toMatchObject({ code: "limit", line: 2, path: "/f" });
    expect((error as ComposefsError).message).toMatch(/an inode can hold 262148/);
    expect(run(Buffer.from(`${lines}/${name} 0 10644 1 0 0 0 0.0 - - -\n`), "dump")).toMatchObject({ line: 2 });
  });

  test("a line without end stops at its limit", () => {
    using writer = new ErofsWriter(OPTIONS);
    const piece = Buffer.alloc(1 << 20, "x");
    const error = errorOf(() => {
      for (let i = 0; i < 100; i++) writer.push(piece);
    });
    expect(error).toMatchObject({ code: "limit", line: 1 });
  });

  test("many links to one file, links in chains, in any order", () => {
    const lines = [ROOT.toString()];
    const n = 70_000;
    for (let i = n; i > 0; i--) lines.push(`/l${i} 0 @100644 - - - - 0.0 /l${i - 1}\n`);
    lines.push("/l0 0 100644 1 0 0 0 0.0 - - -\n");
    expect(run(Buffer.from(lines.join("")), "dump", { ...OPTIONS, dialect: "c" })).toBeGreaterThan(4096);
    // The last one leads into the chain: a cycle of all of them.
    lines.pop();
    lines.push(`/l0 0 @100644 - - - - 0.0 /l${n}\n`);
    const error = run(Buffer.from(lines.join("")), "dump", { ...OPTIONS, dialect: "c" });
    expect((error as ComposefsError).message).toMatch(/leads back to itself/);
  });

  test("255 xattrs in common are taken, 256 are refused, in both dialects", () => {
    const common = (count: number) => Array.from({ length: count }, (_, i) => ` user.${i}=1`).join("");
    const dump = (count: number) =>
      Buffer.from(
        `${ROOT.toString()}/a 0 10644 1 0 0 0 0.0 - - -${common(count)}\n/b 0 10644 1 0 0 0 0.0 - - -${common(count)}\n`,
      );
    for (const version of [0, 1, 2] as const) {
      for (const dialect of ["c", "rs"] as const) {
        expect(run(dump(255), "dump", { ...OPTIONS, version, dialect })).toBeGreaterThan(0);
        expect(run(dump(256), "dump", { ...OPTIONS, version, dialect })).toMatchObject({ code: "limit", path: "/a" });
      }
    }
  });

  test("changed dumps", () => {
    const source = Buffer.from(
      [...dumpTree(randomTree({ seed: 7, entries: 40, algorithm: "sha256", whiteouts: true }), "canonical")].join(""),
    );
    let taken = 0;
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.nat(source.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(32, 10, 45, 47, 92, 64, 48))),
          {
            minLength: 1,
            maxLength: 3,
          },
        ),
        fc.constantFrom(0, 1, 2),
        fc.constantFrom("c", "rs"),
        (changes, version, dialect) => {
          const changed = Buffer.from(source);
          for (const [at, byte] of changes) changed[at] = byte;
          const result = run(changed, "dump", { ...OPTIONS, version: version as 0, dialect: dialect as "c" });
          if (typeof result === "number") taken++;
          else if (result.message !== "") expect(result.line ?? 0).toBeGreaterThan(0);
        },
      ),
      { numRuns: 600 },
    );
    expect(taken).toBeGreaterThan(0);
  });

  test("bytes that are no records, and records with changed bytes", () => {
    const good = recordsOf();
    expect(run(good, "records")).toBeGreaterThan(4096);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        run(bytes, "records");
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(good.length),
        (changes, length) => {
          const changed = Buffer.from(good.subarray(0, length));
          for (const [at, byte] of changes) if (at < length) changed[at] = byte;
          run(changed, "records", { ...OPTIONS, version: (length % 3) as 0 });
        },
      ),
      { numRuns: 1500 },
    );
  });
});

/** A record stream with every kind of record, made by hand as asm/erofs/record.ts describes it. */
function recordsOf(): Buffer {
  const node = (
    kind: number,
    flags: number,
    parent: number,
    mode: number,
    name: string,
    payload: string,
    u64: bigint,
  ) => {
    const size = 56 + name.length + payload.length + (flags & 2 ? 32 : 0);
    const record = Buffer.alloc((size + 7) & ~7);
    record.writeUInt32LE(record.length, 0);
    record.writeUInt8(kind, 4);
    record.writeUInt8(flags, 5);
    record.writeUInt16LE(name.length, 6);
    record.writeUInt32LE(parent, 8);
    record.writeUInt32LE(mode, 12);
    record.writeUInt32LE(kind === 3 ? 0 : 1, 36);
    record.writeBigUInt64LE(u64, 40);
    record.writeUInt32LE(payload.length, 48);
    record.write(name + payload, 56, "latin1");
    return record;
  };
  const set = Buffer.alloc(40);
  set.writeUInt32LE(40, 0);
  set.writeUInt8(4, 4);
  set.writeUInt32LE(1, 8);
  set.writeUInt32LE(6, 16);
  set.writeUInt32LE(5, 20);
  set.write("user.avalue", 24, "latin1");
  return Buffer.concat([
    set,
    node(1, 0, 0xffffffff, 0o40755, "", "", 0n),
    node(1, 0, 0, 0o40755, "dir", "", 0n),
    node(2, 0, 1, 0o100644, "inline", "content", 0n),
    node(2, 3, 1, 0o100644, "external", "some/path", 5000n),
    node(2, 7, 1, 0o100644, "object", "", 1n << 40n),
    node(2, 0, 0, 0o120777, "symlink", "target", 0n),
    node(2, 0, 0, 0o20644, "device", "", 259n),
    node(3, 0, 0, 0, "link", "", 1n),
  ]);
}

describe("scarce memory", () => {
  /** An instance whose memory can grow by so many pages only. Pages that nobody touches cost nothing. */
  function coreWithRoomFor(pages: number): Core {
    const instance = newCore();
    const held = instance.memory.buffer.byteLength / 65_536;
    (instance.memory as unknown as { grow(pages: number): number }).grow(65_536 - held - pages);
    return instance;
  }

  const lines = Array.from({ length: 40_000 }, (_, i) => `/file-${i} 3 100644 1 0 0 0 0.0 - abc -\n`);
  const dump = Buffer.from(ROOT.toString() + lines.join(""));

  /** What could not be done any more; `done` if there was room for all. */
  function runIn(instance: Core): "push" | "finish" | "done" {
    let doing: "push" | "finish" | "done" = "push";
    const writer = new instance.erofs.Writer({
      minVersion: 1,
      maxVersion: 1,
      dialect: "rs",
      objects: "sha256",
      image: "sha256",
    });
    try {
      for (let at = 0; at < dump.length; at += 100_000) writer.pushDump(dump.subarray(at, at + 100_000));
      doing = "finish";
      writer.finish();
      doing = "done";
    } catch (error) {
      // A refusal, not a trap, which would have no payload.
      expect((error as { payload?: unknown }).payload).toMatchObject({
        code: "memory",
        message: expect.stringMatching(/4 GiB/) as unknown,
      });
    }
    // The instance is alive.
    expect(writer.digest().length).toBe(0);
    return doing;
  }

  test("is refused cleanly wherever it runs out", () => {
    const stopped = [0, 8, 40, 80, 95, 110, 200].map((pages) => runIn(coreWithRoomFor(pages)));
    expect(new Set(stopped)).toEqual(new Set(["push", "finish", "done"]));
    expect(stopped.at(-1)).toBe("done");
  });
});
