// An initramfs as a cpio archive in the newc form, written without cpio and without privileges: whatever the owner of a file
// is here, in the guest it is root (docs/spec/vm-testing.md, section 5).

import { gzipSync } from "node:zlib";

/** A file of the archive; directories above it are added. */
export interface ArchiveFile {
  readonly path: string;
  readonly content: Buffer;
  readonly mode?: number;
}

const DIRECTORY = 0o040755;
const REGULAR = 0o100000;

/** The compressed archive. */
export function initramfs(files: readonly ArchiveFile[]): Buffer {
  const parts: Buffer[] = [];
  const directories = new Set<string>();
  let inode = 1;
  const add = (name: string, mode: number, content: Buffer) => {
    const path = Buffer.from(`${name}\0`);
    // inode, mode, uid, gid, nlink, mtime, size, device (2), rdev (2), length of the name, checksum
    const fields = [inode++, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, path.length, 0];
    const numbers = fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0"));
    parts.push(padded(Buffer.concat([Buffer.from(`070701${numbers.join("")}`), path])), padded(content));
  };
  for (const { path, content, mode = 0o644 } of files) {
    const names = path.split("/");
    for (let depth = 1; depth < names.length; depth++) {
      const directory = names.slice(0, depth).join("/");
      if (directories.has(directory)) continue;
      directories.add(directory);
      add(directory, DIRECTORY, Buffer.alloc(0));
    }
    add(path, REGULAR | mode, content);
  }
  add("TRAILER!!!", 0, Buffer.alloc(0));
  return gzipSync(Buffer.concat(parts), { level: 1 });
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
