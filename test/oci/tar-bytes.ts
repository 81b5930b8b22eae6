// Builds tar archives block by block for tests, right or deliberately wrong: every field can be given as raw bytes.

/** A header's fields; strings are bytes (latin1), numbers become octal. */
export interface RawHeader {
  name?: string;
  mode?: number | string;
  uid?: number | string;
  gid?: number | string;
  size?: number | string;
  mtime?: number | string;
  /** Replaces the computed checksum. */
  checksum?: string;
  type?: string;
  link?: string;
  magic?: "ustar" | "gnu" | "v7";
  devmajor?: number | string;
  devminor?: number | string;
  prefix?: string;
}

const MAGIC = { ustar: "ustar\x0000", gnu: "ustar  \0", v7: "\0\0\0\0\0\0\0\0" };

function field(block: Buffer, value: number | string, at: number, width: number): void {
  const text = typeof value === "number" ? value.toString(8).padStart(width - 1, "0") : value;
  block.write(text, at, width, "latin1");
}

/** One header block. */
export function header(fields: RawHeader): Buffer {
  const block = Buffer.alloc(512);
  const magic = fields.magic ?? "ustar";
  field(block, fields.name ?? "", 0, 100);
  field(block, fields.mode ?? 0o644, 100, 8);
  field(block, fields.uid ?? 0, 108, 8);
  field(block, fields.gid ?? 0, 116, 8);
  field(block, fields.size ?? 0, 124, 12);
  field(block, fields.mtime ?? 0, 136, 12);
  field(block, fields.type ?? "0", 156, 1);
  field(block, fields.link ?? "", 157, 100);
  field(block, MAGIC[magic], 257, 8);
  field(block, fields.devmajor ?? (magic === "v7" ? "" : 0), 329, 8);
  field(block, fields.devminor ?? (magic === "v7" ? "" : 0), 337, 8);
  if (fields.prefix !== undefined) field(block, fields.prefix, 345, 155);
  block.fill(" ", 148, 156);
  if (fields.checksum !== undefined) {
    block.fill(0, 148, 156);
    field(block, fields.checksum, 148, 8);
  } else {
    let sum = 0;
    for (const byte of block) sum += byte;
    field(block, `${sum.toString(8).padStart(6, "0")}\0 `, 148, 8);
  }
  return block;
}

/** Data followed by zeros up to the next block. */
export function padded(data: Uint8Array | string): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** A header and its data. */
export function entry(fields: RawHeader, data: Uint8Array | string = ""): Buffer {
  const length = typeof data === "string" ? Buffer.byteLength(data, "latin1") : data.length;
  return Buffer.concat([header({ size: length, ...fields }), padded(data)]);
}

/** One pax record with the right length. */
export function record(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = body.length;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return `${length}${body}`;
}

/** A pax extended header with these records, given as text (latin1) or as pairs. */
export function pax(records: string | readonly (readonly [string, string])[], fields: RawHeader = {}): Buffer {
  const text = typeof records === "string" ? records : records.map(([key, value]) => record(key, value)).join("");
  return entry({ name: "pax", type: "x", ...fields }, text);
}

/** The end of an archive. */
export const END: Buffer = Buffer.alloc(1024);

/** A number in base-256, `width` bytes. */
export function base256(value: bigint, width: number): string {
  const bytes = Buffer.alloc(width);
  let rest = value;
  for (let i = width - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] as number) | 0x80;
  return bytes.toString("latin1");
}
