// A small tar writer for the example: ustar headers, pax records for xattrs. The same entries give the same bytes.

const BLOCK = 512;

/**
 * @typedef {object} Entry
 * @property {string} path without a leading slash; a directory ends with one
 * @property {"file" | "directory" | "symlink" | "hardlink" | "char" | "fifo"} type
 * @property {number} mode permission bits
 * @property {number} mtime seconds since 1970
 * @property {number} [uid]
 * @property {number} [gid]
 * @property {Buffer} [data] of a file
 * @property {string} [link] target of a symlink or hard link
 * @property {[number, number]} [device] major and minor
 * @property {Record<string, Buffer>} [xattrs]
 */

const TYPE_FLAG = { file: "0", hardlink: "1", symlink: "2", char: "3", directory: "5", fifo: "6" };

/** The archive of the entries, with its two end blocks. */
export function tar(/** @type {readonly Entry[]} */ entries) {
  const parts = [];
  for (const entry of entries) {
    const pax = paxRecords(entry);
    if (pax.length > 0) {
      parts.push(header({ path: "pax", mode: 0o644, mtime: entry.mtime }, pax.length, "x"), padded(pax));
    }
    const data = entry.data ?? Buffer.alloc(0);
    parts.push(header(entry, data.length, TYPE_FLAG[entry.type]), padded(data));
  }
  parts.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(parts);
}

function header(entry, size, flag) {
  const block = Buffer.alloc(BLOCK);
  const octal = (at, length, value) => block.write(value.toString(8).padStart(length - 1, "0"), at, "latin1");
  if (Buffer.byteLength(entry.path) > 100) throw new Error(`${entry.path}: too long for a ustar name`);
  block.write(entry.path, 0, "utf8");
  octal(100, 8, entry.mode);
  octal(108, 8, entry.uid ?? 0);
  octal(116, 8, entry.gid ?? 0);
  octal(124, 12, size);
  octal(136, 12, entry.mtime);
  block.write("        ", 148, "latin1");
  block.write(flag, 156, "latin1");
  block.write(entry.link ?? "", 157, "utf8");
  block.write("ustar\u000000", 257, "latin1");
  octal(329, 8, entry.device?.[0] ?? 0);
  octal(337, 8, entry.device?.[1] ?? 0);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\u0000 `, 148, "latin1");
  return block;
}

function paxRecords(entry) {
  return Buffer.concat(
    Object.entries(entry.xattrs ?? {}).map(([name, value]) => {
      const rest = Buffer.concat([Buffer.from(` SCHILY.xattr.${name}=`), value, Buffer.from("\n")]);
      // The length counts its own digits.
      let length = rest.length + 1;
      while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}

function padded(data) {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}
