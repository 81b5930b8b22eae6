// Extended attributes of ext4: where they go, and access control lists in the file system's own form.

import { expect, test } from "vitest";
import { encodeXattrs } from "../../../src/deploy/disk/ext4-xattrs.ts";

const ROOM = 96;
const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

/** The value of the first attribute of an inode. */
function firstValue(area: Uint8Array): Buffer {
  const bytes = Buffer.from(area);
  const [at, size] = [bytes.readUInt16LE(4 + 2), bytes.readUInt32LE(4 + 8)];
  return bytes.subarray(4 + at, 4 + at + size);
}

test("an access control list loses the ids of entries that have none", () => {
  const entries = [
    [0x01, 6, 0xffffffff],
    [0x02, 4, 33],
    [0x04, 4, 0xffffffff],
    [0x08, 5, 44],
    [0x10, 6, 0xffffffff],
    [0x20, 4, 0xffffffff],
  ] as const;
  const given = Buffer.alloc(4 + entries.length * 8);
  given.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    given.writeUInt16LE(tag, 4 + index * 8);
    given.writeUInt16LE(permissions, 6 + index * 8);
    given.writeUInt32LE(id, 8 + index * 8);
  }
  const { inline, block } = encodeXattrs(["system.posix_acl_access", latin1(given)], ROOM, "f");
  expect(block).toBeUndefined();
  // Its name is the number of the namespace alone.
  expect([inline[4], inline[5]]).toEqual([0, 2]);
  expect(firstValue(inline).toString("hex")).toBe(
    ["01000000", "01000600", "0200040021000000", "04000400", "080005002c000000", "10000600", "20000400"].join(""),
  );
  expect(() => encodeXattrs(["system.posix_acl_access", "\x01\0\0\0"], ROOM, "f")).toThrow(/cannot be read/);
});

test("what does not fit the inode goes into a block, sorted as the kernel looks it up", () => {
  const { inline, block } = encodeXattrs(
    ["user.bb", "1", "security.selinux", "s".repeat(60), "user.a", "2", "trusted.x", ""],
    ROOM,
    "f",
  );
  expect(inline.length).toBe(0);
  const names: string[] = [];
  const bytes = block ?? Buffer.alloc(4096);
  for (let at = 32; bytes.readUInt32LE(at) !== 0; at += 16 + Math.ceil((bytes[at] ?? 0) / 4) * 4)
    names.push(`${bytes[at + 1]} ${bytes.toString("latin1", at + 16, at + 16 + (bytes[at] ?? 0))}`);
  expect(names).toEqual(["1 a", "1 bb", "4 x", "6 selinux"]);
});

test("what ext4 has no place for is refused, with the file's name", () => {
  expect(() => encodeXattrs(["btrfs.compression", "zstd"], ROOM, "/s/f")).toThrow(/\/s\/f: ext4 has no place/);
  expect(() => encodeXattrs(["user.a", "x".repeat(5000)], ROOM, "/s/f")).toThrow(/\/s\/f: .* do not fit/);
});
