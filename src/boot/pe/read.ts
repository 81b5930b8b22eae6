// Sections of PE files, read as composefs-rs reads them (docs/spec/boot.md, section 5). The file is foreign: every offset is
// checked against its size before anything is allocated or read, and only what is asked for is looked at.

import { toByteString, type ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";

/** Bytes that can be read anywhere. `read` gives fewer bytes than asked for only at the end. Objects of a repository are such. */
export interface PeSource {
  /** How many bytes there are. */
  readonly size: number;
  read(position: number, length: number): Uint8Array;
}

/** An entry of the section table. */
export interface PeSection {
  /** Its name without the padding. */
  readonly name: ByteString;
  /** Length of the content in bytes; the file may hold more, which is padding. */
  readonly virtualSize: number;
  /** Where the firmware puts it, relative to the image. */
  readonly virtualAddress: number;
  /** Bytes in the file with padding. Not used to read the section. */
  readonly rawSize: number;
  /** Where it begins in the file. */
  readonly rawPointer: number;
}

const DOS_HEADER = 64;
const PE_OFFSET = 0x3c;
const PE_HEADER = 24;
const SECTION_HEADER = 40;

/** The longest section that is read as text: command lines, os-release. Kernels take 2 KiB of command line. */
const MAX_TEXT = 1 << 20;

const CHUNK = 1 << 20;

const ARCHITECTURES: ReadonlyMap<number, string> = new Map([
  [0x014c, "i386"],
  [0x01c2, "arm"],
  [0x01c4, "arm"],
  [0x8664, "x86_64"],
  [0xaa64, "aarch64"],
  [0x5032, "riscv32"],
  [0x5064, "riscv64"],
  [0x6232, "loongarch32"],
  [0x6264, "loongarch64"],
]);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A source over bytes in memory. */
export function bytesSource(bytes: Uint8Array): PeSource {
  return { size: bytes.length, read: (position, length) => bytes.subarray(position, position + length) };
}

/** A PE file whose headers have been read. */
export class PeFile {
  /** What it is called in messages. */
  readonly what: string;
  /** The raw machine type; {@link architecture} has its name. Nothing else depends on it. */
  readonly machine: number;
  /** The section table, in its order. Names may repeat; the first one counts. */
  readonly sections: readonly PeSection[];
  readonly #source: PeSource;

  /** Use {@link PeFile.read}. */
  private constructor(what: string, machine: number, sections: readonly PeSection[], source: PeSource) {
    this.what = what;
    this.machine = machine;
    this.sections = sections;
    this.#source = source;
  }

  /**
   * Reads the headers. The `MZ` magic is not looked at, nor is anything of the optional header.
   *
   * @param what names the file in messages
   * @throws ComposefsError `invalid` with the reason `uki-not-pe`
   * @example
   * ```ts
   * const pe = PeFile.read(bytesSource(readFileSync("linux.efi")), "linux.efi");
   * console.log(pe.text(".cmdline"));
   * ```
   */
  static read(source: PeSource, what: string): PeFile {
    const { size } = source;
    if (size < DOS_HEADER) throw notPe(what, `it has ${size} bytes and the first header takes ${DOS_HEADER}`);
    const start = view(source, PE_OFFSET, 4, what).getUint32(0, true);
    if (start + PE_HEADER > size) throw notPe(what, `its PE header would begin at byte ${start} of ${size}`);
    const header = view(source, start, PE_HEADER, what);
    if (header.getUint32(0, true) !== 0x4550) throw notPe(what, `there is no PE header at byte ${start}`);
    const count = header.getUint16(6, true);
    const table = start + PE_HEADER + header.getUint16(20, true);
    const length = count * SECTION_HEADER;
    if (table + length > size)
      throw notPe(what, `its table of ${count} sections would end at byte ${table + length} of ${size}`);
    const headers = view(source, table, length, what);
    const sections = Array.from({ length: count }, (_, i) => sectionAt(headers, i * SECTION_HEADER));
    return new PeFile(what, header.getUint16(4, true), sections, source);
  }

  /** Size of the whole file in bytes. */
  get size(): number {
    return this.#source.size;
  }

  /** The processor that the file is for, in the kernel's words (`x86_64`); undefined when the number is not known. */
  get architecture(): string | undefined {
    return ARCHITECTURES.get(this.machine);
  }

  /** Whether there is a section of that name. */
  has(name: ByteString): boolean {
    return this.sections.some((section) => section.name === name);
  }

  /**
   * The first section of that name, which lies inside the file.
   *
   * @throws ComposefsError `not-found` with the reason `uki-no-section`; `invalid` (`uki-not-pe`) when it passes the end
   */
  section(name: ByteString): PeSection {
    const section = this.sections.find((candidate) => candidate.name === name);
    if (section === undefined) {
      throw new ComposefsError("not-found", `${this.what} has no section ${name}`, {
        path: this.what,
        reason: "uki-no-section",
        hint: `it has ${this.sections.map((one) => one.name).join(" ") || "none"}; is it a unified kernel image?`,
      });
    }
    const end = section.rawPointer + section.virtualSize;
    if (end > this.size) throw notPe(this.what, `its section ${name} would end at byte ${end} of ${this.size}`);
    return section;
  }

  /**
   * The content of a section, all at once: no more memory than the file is long.
   *
   * @throws ComposefsError as {@link section}
   */
  bytes(name: ByteString): Uint8Array {
    const { rawPointer, virtualSize } = this.section(name);
    return exactly(this.#source, rawPointer, virtualSize, this.what);
  }

  /**
   * The content of a section in pieces of at most 1 MiB; they may share their memory with the source.
   *
   * @throws ComposefsError as {@link section}
   */
  *chunks(name: ByteString): Generator<Uint8Array, void, undefined> {
    const { rawPointer, virtualSize } = this.section(name);
    for (let at = 0; at < virtualSize; at += CHUNK) {
      yield exactly(this.#source, rawPointer + at, Math.min(CHUNK, virtualSize - at), this.what);
    }
  }

  /**
   * The content of a section as text, exactly as it is there: no NUL or newline is cut off.
   *
   * @throws ComposefsError as {@link section}; `invalid` (`uki-not-utf8`); `limit` beyond 1 MiB
   */
  text(name: ByteString): string {
    const { virtualSize } = this.section(name);
    if (virtualSize > MAX_TEXT) {
      throw new ComposefsError("limit", `the section ${name} of ${this.what} has ${virtualSize} bytes of text`, {
        path: this.what,
        hint: "at most 1 MiB is read",
      });
    }
    try {
      return utf8.decode(this.bytes(name));
    } catch (error) {
      if (error instanceof ComposefsError) throw error;
      throw new ComposefsError("invalid", `the section ${name} of ${this.what} is not UTF-8 text`, {
        path: this.what,
        reason: "uki-not-utf8",
        cause: error,
      });
    }
  }
}

function sectionAt(headers: DataView, at: number): PeSection {
  const name = toByteString(new Uint8Array(headers.buffer, headers.byteOffset + at, 8));
  return {
    // Names are compared as 8 padded bytes: only NULs at the end are padding.
    name: name.replace(/\0+$/, ""),
    virtualSize: headers.getUint32(at + 8, true),
    virtualAddress: headers.getUint32(at + 12, true),
    rawSize: headers.getUint32(at + 16, true),
    rawPointer: headers.getUint32(at + 20, true),
  };
}

function view(source: PeSource, position: number, length: number, what: string): DataView {
  const bytes = exactly(source, position, length, what);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads what the size promised; less means that the file shrank. */
function exactly(source: PeSource, position: number, length: number, what: string): Uint8Array {
  const bytes = source.read(position, length);
  if (bytes.length !== length) throw notPe(what, `it ended at byte ${position + bytes.length} of ${source.size}`);
  return bytes;
}

function notPe(what: string, why: string): ComposefsError {
  return new ComposefsError("invalid", `${what} is not a PE file: ${why}`, {
    path: what,
    reason: "uki-not-pe",
    hint: "kernels, unified kernel images and addons for EFI are PE files",
  });
}
