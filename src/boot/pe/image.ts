// What a loader needs of a PE file besides its sections: alignments, sizes, checksum, signatures. Read strictly, unlike the
// sections of foreign files (pe.ts): only files that will be extended or judged as a whole come here (docs/spec/boot.md, section 5).

import { ComposefsError } from "../../error.ts";
import { PeFile, type PeSource } from "./read.ts";

/** Offsets and values of the optional header. All offsets are positions in the file. */
export interface PeImage {
  readonly pe: PeFile;
  /** Where the PE header begins. */
  readonly header: number;
  /** Where the section table begins. */
  readonly table: number;
  readonly sectionAlignment: number;
  readonly fileAlignment: number;
  /** Bytes of headers that a loader copies. */
  readonly sizeOfHeaders: number;
  /** Where the checksum is. */
  readonly checksumAt: number;
  /** Where a data directory entry is (8 bytes: address, size); undefined when there are fewer. */
  readonly directoryAt: (index: number) => number | undefined;
  /** Bytes of signatures at the end of the file; 0 when it is not signed. */
  readonly signatureBytes: number;
}

const PE32 = 0x10b;
const PE32_PLUS = 0x20b;

/** Index of the certificate table among the data directories. */
const SECURITY = 4;

/**
 * Reads the optional header, of PE32 or PE32+.
 *
 * @param what names the file in messages
 * @throws ComposefsError `invalid` with the reason `uki-not-pe`
 */
export function readPeImage(source: PeSource, what: string): PeImage {
  const pe = PeFile.read(source, what);
  const fail = (why: string) =>
    new ComposefsError("invalid", `${what} cannot be loaded by a firmware: ${why}`, {
      path: what,
      reason: "uki-not-pe",
    });
  const header = fields(source, 0x3c, 4).getUint32(0, true);
  const length = fields(source, header, 24).getUint16(20, true);
  const start = header + 24;
  const optional = fields(source, start, length);
  const magic = length < 2 ? 0 : optional.getUint16(0, true);
  if (magic !== PE32 && magic !== PE32_PLUS) throw fail("it has no optional header");
  // The fields up to here are at the same place in both forms.
  const directories = magic === PE32 ? 96 : 112;
  if (length < directories) throw fail(`its optional header has ${length} bytes instead of ${directories}`);
  const count = Math.min(optional.getUint32(directories - 4, true), Math.floor((length - directories) / 8));
  const fileAlignment = optional.getUint32(36, true);
  const sectionAlignment = optional.getUint32(32, true);
  for (const alignment of [fileAlignment, sectionAlignment]) {
    const isPower = alignment > 0 && (alignment & (alignment - 1)) === 0;
    if (!isPower || alignment > 1 << 24) throw fail(`it asks for an alignment of ${alignment} bytes`);
  }
  const directoryAt = (index: number) => (index < count ? start + directories + 8 * index : undefined);
  const security = directoryAt(SECURITY);
  return {
    pe,
    header,
    table: start + length,
    sectionAlignment,
    fileAlignment,
    sizeOfHeaders: optional.getUint32(60, true),
    checksumAt: start + 64,
    directoryAt,
    signatureBytes: security === undefined ? 0 : fields(source, security + 4, 4).getUint32(0, true),
  };
}

/** The caller has checked that the bytes are there: PeFile.read has seen the whole header and table. */
function fields(source: PeSource, position: number, length: number): DataView {
  const bytes = source.read(position, length);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The checksum of a PE file, fed in pieces. The four bytes of the field itself must be zero or left as zero. */
export class PeChecksum {
  #sum = 0;
  #length = 0;

  /** Adds the next bytes of the file. */
  update(bytes: Uint8Array): void {
    let at = 0;
    let sum = this.#sum;
    // The high half of a word that the last piece began.
    if (this.#length % 2 === 1 && bytes.length > 0) sum += (bytes[at++] as number) << 8;
    const words = bytes.length - 1;
    for (; at < words; at += 2) {
      sum += (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      // Folding seldom: 2^31 is far away after a carry every 2^14 words.
      if ((at & 0x7ffe) === 0) sum = fold(sum);
    }
    if (at < bytes.length) sum += bytes[at] as number;
    this.#sum = fold(sum);
    this.#length += bytes.length;
  }

  /** The value for the checksum field. */
  digest(): number {
    return (fold(this.#sum) + this.#length) >>> 0;
  }
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}
