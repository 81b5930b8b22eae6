// Names on FAT: the short alias that every file has, and the entries that hold its real name.

import { ComposefsError } from "../../error.ts";

/** Characters of short names beside capital letters and digits. */
const SHORT_EXTRA = "$%'-_@~`!(){}^#&";
// oxlint-disable-next-line no-control-regex -- these are what a name must not have
const FORBIDDEN = /[\u0000-\u001f"*/:<>?\\|\u007f]|[. ]$|^ /;
const UNITS_PER_ENTRY = 13;

/** Bytes of a directory entry. */
export const FAT_ENTRY = 32;

/** A name in a directory. */
export interface FatName {
  /** 11 bytes: 8 and 3, padded with blanks. */
  readonly short: string;
  /** Whether the short name says it all. */
  readonly isShort: boolean;
}

/**
 * Gives each name of a directory its short one.
 *
 * @param where the directory, for messages
 * @throws ComposefsError `invalid` for names that FAT cannot have: with forbidden characters, too long, or equal but for case
 */
export function fatNames(names: readonly string[], where: string): Map<string, FatName> {
  const result = new Map<string, FatName>();
  const seen = new Map<string, string>();
  for (const name of names) {
    const path = `${where}/${name}`;
    if (FORBIDDEN.test(name) || name.length > 255)
      throw new ComposefsError("invalid", `${path}: FAT cannot have this name`, {
        path,
        hint: 'rename it: no control characters and none of " * / : < > ? \\ |, no dot or blank at the end',
      });
    const folded = name.toUpperCase();
    const other = seen.get(folded);
    if (other !== undefined)
      throw new ComposefsError("invalid", `${path}: on FAT it is the same name as ${other}`, { path });
    seen.set(folded, name);
  }
  const taken = new Set<string>();
  for (const name of names) {
    const plain = plainShortName(name);
    if (plain !== undefined) taken.add(plain);
  }
  for (const name of names) {
    const plain = plainShortName(name);
    if (plain !== undefined) {
      result.set(name, { short: plain, isShort: true });
      continue;
    }
    const short = alias(name, taken);
    taken.add(short);
    result.set(name, { short, isShort: false });
  }
  return result;
}

function isShortText(text: string): boolean {
  return text.split("").every((c) => /^[A-Z0-9]$/.test(c) || SHORT_EXTRA.includes(c));
}

function plainShortName(name: string): string | undefined {
  const [, base = "", extension = ""] = /^([^.]{1,8})(?:\.([^.]{1,3}))?$/.exec(name) ?? [];
  if (base === "" || !isShortText(base) || !isShortText(extension)) return undefined;
  return base.padEnd(8) + extension.padEnd(3);
}

function alias(name: string, taken: ReadonlySet<string>): string {
  const dot = name.lastIndexOf(".");
  const clean = (text: string) =>
    text
      .toUpperCase()
      .split("")
      .filter((c) => c !== " " && c !== ".")
      .map((c) => (isShortText(c) ? c : "_"))
      .join("");
  const base = clean(dot > 0 ? name.slice(0, dot) : name);
  const extension = clean(dot > 0 ? name.slice(dot + 1) : "").slice(0, 3);
  for (let number = 1; ; number++) {
    const tail = `~${number}`;
    const short = (base.slice(0, 8 - tail.length) + tail).padEnd(8) + extension.padEnd(3);
    if (!taken.has(short)) return short;
  }
}

/** How many directory entries a name takes, the one of the file included. */
export function fatEntryCount(name: string, { isShort }: FatName): number {
  return isShort ? 1 : 1 + Math.ceil(name.length / UNITS_PER_ENTRY);
}

/** What a directory entry says beside the name. */
export interface FatFacts {
  readonly attributes: number;
  readonly cluster: number;
  readonly size: number;
  readonly seconds: number;
}

/** The entries of a name: those of the long name, last part first, then the short one. */
export function encodeFatName(name: string, { short, isShort }: FatName, facts: FatFacts): Buffer {
  const parts = isShort ? 0 : Math.ceil(name.length / UNITS_PER_ENTRY);
  const bytes = Buffer.alloc((parts + 1) * FAT_ENTRY);
  let checksum = 0;
  for (const c of short) checksum = (((checksum & 1) << 7) + (checksum >> 1) + c.charCodeAt(0)) & 0xff;
  // A NUL ends it where it does not fill its entries, the rest is ones.
  const units = Buffer.alloc(parts * UNITS_PER_ENTRY * 2, 0xff);
  if (name.length * 2 < units.length) units.writeUInt16LE(0, name.length * 2);
  units.write(isShort ? "" : name, 0, "utf16le");
  for (let part = parts; part > 0; part--) {
    const entry = bytes.subarray((parts - part) * FAT_ENTRY, (parts - part + 1) * FAT_ENTRY);
    const text = units.subarray((part - 1) * 26, part * 26);
    entry[0] = part | (part === parts ? 0x40 : 0);
    entry.set(text.subarray(0, 10), 1);
    entry[11] = 0x0f;
    entry[13] = checksum;
    entry.set(text.subarray(10, 22), 14);
    entry.set(text.subarray(22, 26), 28);
  }
  bytes.set(encodeFatEntry(short, facts), parts * FAT_ENTRY);
  return bytes;
}

/** One entry with a short name, such as `.` and the label. */
export function encodeFatEntry(short: string, { attributes, cluster, size, seconds }: FatFacts): Buffer {
  const entry = Buffer.alloc(FAT_ENTRY);
  entry.write(short, 0, 11, "latin1");
  entry[11] = attributes;
  const { date, time } = fatTime(seconds);
  entry.writeUInt16LE(time, 14);
  entry.writeUInt16LE(date, 16);
  entry.writeUInt16LE(date, 18);
  entry.writeUInt16LE(cluster >>> 16, 20);
  entry.writeUInt16LE(time, 22);
  entry.writeUInt16LE(date, 24);
  entry.writeUInt16LE(cluster & 0xffff, 26);
  entry.writeUInt32LE(size, 28);
  return entry;
}

const FIRST_TIME = Date.UTC(1980, 0, 1) / 1000;
const LAST_TIME = Date.UTC(2107, 11, 31) / 1000;

// In UTC, so that it does not depend on where the image is made.
function fatTime(seconds: number): { date: number; time: number } {
  const when = new Date(Math.min(Math.max(seconds, FIRST_TIME), LAST_TIME) * 1000);
  return {
    date: ((when.getUTCFullYear() - 1980) << 9) | ((when.getUTCMonth() + 1) << 5) | when.getUTCDate(),
    time: (when.getUTCHours() << 11) | (when.getUTCMinutes() << 5) | (when.getUTCSeconds() >> 1),
  };
}
