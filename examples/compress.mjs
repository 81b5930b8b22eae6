// gzip and zstd for the example. The compressors of zlib and zstd give other bytes with every version; these small ones
// give the same bytes everywhere, so that the committed layout can be checked against the script.

/** A gzip member: greedy matches, the fixed Huffman code (RFC 1951, 3.2.6), no name and no time. */
export function gzip(/** @type {Buffer} */ data) {
  const head = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(crc32(data), 0);
  tail.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, deflate(data), tail]);
}

/** A zstd frame of raw and run-length blocks (RFC 8878, 3.1.1.2): no entropy coding, but runs of zeros become 4 bytes. */
export function zstd(/** @type {Buffer} */ data) {
  const parts = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0]), Buffer.alloc(4)];
  parts[1].writeUInt32LE(data.length);
  const blocks = [];
  let at = 0;
  while (at < data.length) {
    const run = runLength(data, at);
    if (run >= MIN_RUN) {
      blocks.push({ type: 1, size: run, bytes: data.subarray(at, at + 1) });
      at += run;
      continue;
    }
    let end = at + 1;
    while (end < data.length && end - at < MAX_BLOCK && runLength(data, end) < MIN_RUN) end++;
    blocks.push({ type: 0, size: end - at, bytes: data.subarray(at, end) });
    at = end;
  }
  for (const [index, { type, size, bytes }] of blocks.entries()) {
    const header = Buffer.alloc(3);
    header.writeUIntLE((index === blocks.length - 1 ? 1 : 0) | (type << 1) | (size << 3), 0, 3);
    parts.push(header, bytes);
  }
  return Buffer.concat(parts);
}

const MAX_BLOCK = 128 * 1024;
const MIN_RUN = 32;

function runLength(data, at) {
  let end = at + 1;
  while (end < data.length && end - at < MAX_BLOCK && data[end] === data[at]) end++;
  return end - at;
}

// RFC 1951, 3.2.5: first length and extra bits of the codes 257..285, first distance and extra bits of the codes 0..29.
const LENGTHS = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCES = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
  8193, 12289, 16385, 24577,
];
const DISTANCE_BITS = [
  0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
];

function deflate(data) {
  const out = [];
  let hold = 0;
  let held = 0;
  const bits = (value, count) => {
    hold |= value << held;
    held += count;
    while (held >= 8) {
      out.push(hold & 0xff);
      hold >>>= 8;
      held -= 8;
    }
  };
  // Huffman codes go in with their most significant bit first.
  const code = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit--) bits((value >> bit) & 1, 1);
  };
  const symbol = (value) => {
    if (value < 144) code(0x30 + value, 8);
    else if (value < 256) code(0x190 + value - 144, 9);
    else if (value < 280) code(value - 256, 7);
    else code(0xc0 + value - 280, 8);
  };
  const lastIndex = (table, value) => table.findLastIndex((first) => first <= value);

  bits(1, 1);
  bits(1, 2);
  const seen = new Map();
  const remember = (at) => {
    if (at + 2 < data.length) seen.set(data.readUIntBE(at, 3), at);
  };
  for (let at = 0; at < data.length; ) {
    const before = at + 2 < data.length ? seen.get(data.readUIntBE(at, 3)) : undefined;
    let length = 0;
    if (before !== undefined && at - before <= 32768) {
      while (length < 258 && at + length < data.length && data[before + length] === data[at + length]) length++;
    }
    if (length < 3) {
      symbol(data[at]);
      remember(at);
      at++;
      continue;
    }
    const lengthIndex = lastIndex(LENGTHS, length);
    symbol(257 + lengthIndex);
    bits(length - LENGTHS[lengthIndex], LENGTH_BITS[lengthIndex]);
    const distanceIndex = lastIndex(DISTANCES, at - before);
    code(distanceIndex, 5);
    bits(at - before - DISTANCES[distanceIndex], DISTANCE_BITS[distanceIndex]);
    for (const end = at + length; at < end; at++) remember(at);
  }
  symbol(256);
  if (held > 0) out.push(hold & 0xff);
  return Buffer.from(out);
}

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
