// Short and long names of FAT.

import { expect, test } from "vitest";
import { encodeFatName, fatEntryCount, fatNames } from "../../../src/deploy/disk/fat-names.ts";

const FACTS = { attributes: 0x20, cluster: 0x12345, size: 77, seconds: Date.UTC(2024, 4, 6, 7, 8, 10) / 1000 };

test("names that FAT has as they are need no second entry", () => {
  const names = fatNames(["EFI", "BOOTX64.EFI", "A-B_1.TXT"], "/esp");
  expect([...names.values()].map(({ short }) => short)).toEqual(["EFI        ", "BOOTX64 EFI", "A-B_1   TXT"]);
  expect([...names].every(([name, each]) => fatEntryCount(name, each) === 1)).toBe(true);
});

test("all others have an alias that no other file has", () => {
  const many = Array.from({ length: 120 }, (_, i) => `bootc_composefs-${i}.efi`);
  const names = fatNames(["BOOTC_~1.EFI", ".hidden", "a.b.c", "Ünïcode", ...many], "/esp");
  const shorts = [...names.values()].map(({ short }) => short);
  expect(new Set(shorts).size).toBe(shorts.length);
  expect(shorts.every((short) => /^[A-Z0-9_~ ]{11}$/.test(short))).toBe(true);
  expect(names.get("bootc_composefs-0.efi")?.short).toBe("BOOTC_~2EFI");
  expect(names.get("a.b.c")?.short).toBe("AB~1    C  ");
});

test("a long name can be read again from its entries", () => {
  for (const name of ["thirteen-char", "fourteen-chars", `${"x".repeat(250)}.conf`, "Straße.txt"]) {
    const entry = fatNames([name], "/esp").get(name);
    if (entry === undefined) throw new Error("no name");
    const bytes = encodeFatName(name, entry, FACTS);
    expect(bytes.length).toBe(32 * fatEntryCount(name, entry));
    const count = bytes.length / 32 - 1;
    let text = "";
    let sum = 0;
    for (const byte of bytes.subarray(count * 32, count * 32 + 11))
      sum = (((sum & 1) << 7) | ((sum >> 1) + byte)) & 0xff;
    for (let i = count - 1; i >= 0; i--) {
      const part = bytes.subarray(i * 32, (i + 1) * 32);
      expect(part[0]).toBe((count - i) | (i === 0 ? 0x40 : 0));
      expect([part[11], part[12], part[26], part[27]]).toEqual([0x0f, 0, 0, 0]);
      text += part.toString("utf16le", 1, 11) + part.toString("utf16le", 14, 26) + part.toString("utf16le", 28, 32);
    }
    expect(text.replace(/\0?\uffff*$/, "")).toBe(name);
    const last = bytes.subarray(count * 32);
    expect(last.readUInt16LE(20) * 65_536 + last.readUInt16LE(26)).toBe(FACTS.cluster);
    expect(last.readUInt32LE(28)).toBe(FACTS.size);
    expect([last.readUInt16LE(24), last.readUInt16LE(22)]).toEqual([
      (44 << 9) | (5 << 5) | 6,
      (7 << 11) | (8 << 5) | 5,
    ]);
  }
});

test("names that FAT cannot have are refused", () => {
  for (const name of ["a:b", "a?", "end.", "end ", "tab\t", "x".repeat(256)])
    expect(() => fatNames([name], "/esp"), name).toThrow(/FAT cannot have this name/);
  expect(() => fatNames(["Entry.conf", "entry.CONF"], "/esp")).toThrow(/the same name as Entry.conf/);
});
