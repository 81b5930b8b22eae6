// The input of the dump benchmark: dumps of the shape of docs/spec/wasm-core.md, 5.1 (12 columns, one SELinux label per entry,
// 78 % regular files with digests, 10 % symlinks, 10 % inline), the same bytes on every machine.

import { closeSync, openSync, writeSync } from "node:fs";

const LABELS = ["usr_t", "bin_t", "lib_t", "etc_t"].map((type) => `system_u:object_r:${type}:s0`);
/** Entries of a directory, itself included, and subdirectories of one at the top. */
const DIRECTORY_ENTRIES = 50;
const SUBDIRECTORIES = 32;

/** xorshift32: small, fast, the same everywhere. */
function random(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** The lines of a dump of that many entries. */
export function* dumpLines(entries) {
  const next = random(12345);
  const pad = (value, width) => String(value).padStart(width, "0");
  const label = () => `security.selinux=${LABELS[next(4)]}`;
  const digest = () => {
    let hex = "";
    for (let i = 0; i < 8; i++)
      hex += next(2 ** 32)
        .toString(16)
        .padStart(8, "0");
    return hex;
  };
  const directory = (path) => `${path} 0 40755 2 0 0 0 17000000${next(100)}.0 - - - ${label()}\n`;
  yield `/ 0 40755 2 0 0 0 1700000000.0 - - - security.selinux=${LABELS[0]}\n`;
  let count = 1;
  for (let number = 0; count < entries; number++) {
    const top = `/d${pad(Math.floor(number / SUBDIRECTORIES), 5)}`;
    if (number % SUBDIRECTORIES === 0) {
      yield directory(top);
      count++;
    }
    const path = `${top}/sub${pad(number % SUBDIRECTORIES, 2)}`;
    yield directory(path);
    count++;
    for (let i = 0; i < DIRECTORY_ENTRIES - 1 && count < entries; i++, count++) {
      const head = `${path}/file-${pad(i, 3)}-${next(100_000)}.dat`;
      const time = `17${pad(next(100_000_000), 8)}.${next(1_000_000_000)}`;
      const kind = next(98);
      if (kind < 78) {
        const id = digest();
        const payload = `${id.slice(0, 2)}/${id.slice(2)}`;
        yield `${head} ${100 + next(1_000_000)} 100644 1 0 0 0 ${time} ${payload} - ${id} ${label()}\n`;
      } else if (kind < 88) {
        yield `${head} 20 120777 1 0 0 0 ${time} ../lib/target-${pad(i, 6)} - - ${label()}\n`;
      } else {
        yield `${head} 20 100644 1 0 0 0 ${time} - content-number-${pad(i, 5)} - ${label()}\n`;
      }
    }
  }
}

/** Writes the dump to a file. */
export function writeDump(path, entries) {
  const fd = openSync(path, "w");
  let lines = [];
  const flush = () => {
    writeSync(fd, lines.join(""));
    lines = [];
  };
  for (const line of dumpLines(entries)) if (lines.push(line) === 10_000) flush();
  flush();
  closeSync(fd);
}

/** The same as bytes, in pieces of a megabyte. */
export function* dumpPieces(entries) {
  let text = "";
  for (const line of dumpLines(entries)) {
    text += line;
    if (text.length < 1 << 20) continue;
    yield Buffer.from(text, "latin1");
    text = "";
  }
  yield Buffer.from(text, "latin1");
}
