// Sections added to a PE file: where headers, old and new content go. A pure plan (`planAppend`); `appendedChunks` carries it
// out as a stream, so that a kernel or an initramfs is never held whole. The same input gives the same bytes.

import { fromByteString, type ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { bytesSource, type PeSource } from "./read.ts";
import { type PeImage, readPeImage } from "./image.ts";

/** A section to add. */
export interface NewSection {
  /** At most 8 bytes. */
  readonly name: ByteString;
  readonly content: PeSource;
  /** Whether the firmware may execute it in place: kernels of the old handover protocol. */
  readonly executable?: boolean;
}

/** Where everything goes. */
export interface AppendPlan {
  /** The beginning of the result up to the first new section, with a checksum of zero. */
  readonly head: Uint8Array;
  /** Where the checksum belongs. */
  readonly checksumAt: number;
  /** The new sections, each padded with zeros to `rawSize`. */
  readonly sections: readonly { readonly content: PeSource; readonly rawSize: number; readonly name: string }[];
  /** Size of the result in bytes. */
  readonly size: number;
}

const SECTION_HEADER = 40;
const INITIALIZED_DATA = 0x40;
const CODE = 0x20;
const EXECUTE = 0x20000000;
const READ = 0x40000000;

/** New sections begin on pages of memory even where the file asks for less: the kernel is handed the initramfs where it lies. */
const PAGE = 4096;

/** Largest position and address in a PE file. */
const MAX = 0xffffffff;

const DEBUG_DIRECTORY = 6;
const DEBUG_ENTRY = 28;

/**
 * Plans the result. A symbol table behind the sections is dropped, as image files should have none.
 *
 * @param base the file to extend, whole
 * @param what names it in messages
 * @throws ComposefsError `invalid` (`uki-not-pe`) for a file that no firmware loads; `unsupported` for a signed one, and where
 *   the headers cannot grow; `limit` beyond 4 GiB
 */
export function planAppend(base: Uint8Array, sections: readonly NewSection[], what: string): AppendPlan {
  const image = readPeImage(bytesSource(base), what);
  const { fileAlignment, pe, table } = image;
  checkBase(base, image, what);
  const loaded = pe.sections.filter((section) => section.rawSize > 0);
  const firstData = Math.min(base.length, ...loaded.map((section) => section.rawPointer));
  const dataEnd = Math.max(table, ...loaded.map((section) => section.rawPointer + section.rawSize));
  const oldTableEnd = table + pe.sections.length * SECTION_HEADER;
  const tableEnd = oldTableEnd + sections.length * SECTION_HEADER;
  if (oldTableEnd > firstData || base.subarray(oldTableEnd, Math.min(tableEnd, firstData)).some((byte) => byte !== 0))
    throw noRoom(what, "other data lies behind its section table");
  const shift = tableEnd > firstData ? roundUp(tableEnd - firstData, fileAlignment) : 0;
  const sizeOfHeaders = Math.max(roundUp(tableEnd, fileAlignment), image.sizeOfHeaders);
  if (pe.sections.some((section) => section.virtualAddress < sizeOfHeaders))
    throw noRoom(what, `its first section is loaded where the ${sizeOfHeaders} bytes of headers would be`);

  const headSize = roundUp(dataEnd + shift, fileAlignment);
  const head = new Uint8Array(headSize);
  head.set(base.subarray(0, oldTableEnd));
  head.set(base.subarray(firstData, dataEnd), firstData + shift);
  const view = new DataView(head.buffer);
  if (shift > 0) moveData(view, image, shift);

  const alignment = Math.max(image.sectionAlignment, PAGE);
  let position = headSize;
  let address = Math.max(...pe.sections.map((one) => one.virtualAddress + Math.max(one.virtualSize, one.rawSize)), 0);
  const placed = sections.map(({ name, content, executable = false }, index) => {
    address = roundUp(address, alignment);
    const rawSize = roundUp(content.size, fileAlignment);
    if (position + rawSize > MAX || address + rawSize > MAX) throw tooLarge(name, content.size);
    const at = oldTableEnd + index * SECTION_HEADER;
    head.set(nameBytes(name), at);
    view.setUint32(at + 8, content.size, true);
    view.setUint32(at + 12, address, true);
    view.setUint32(at + 16, rawSize, true);
    view.setUint32(at + 20, position, true);
    view.setUint32(at + 36, (INITIALIZED_DATA | READ | (executable ? CODE | EXECUTE : 0)) >>> 0, true);
    position += rawSize;
    address += content.size;
    return { content, rawSize, name };
  });

  view.setUint16(image.header + 6, pe.sections.length + sections.length, true);
  dropSymbols(view, image.header);
  view.setUint32(image.checksumAt - 8, roundUp(address, image.sectionAlignment), true); // SizeOfImage
  view.setUint32(image.checksumAt - 4, sizeOfHeaders, true);
  view.setUint32(image.checksumAt, 0, true);
  return { head, checksumAt: image.checksumAt, sections: placed, size: position };
}

const CHUNK = 1 << 20;

/** The planned file from its beginning, in pieces, with a checksum of zero: see `PeChecksum`. */
export function* appendedChunks(plan: AppendPlan, signal?: AbortSignal): Generator<Uint8Array, void, undefined> {
  yield plan.head;
  for (const { content, rawSize, name } of plan.sections) {
    for (let at = 0; at < content.size; at += CHUNK) {
      throwIfAborted(signal);
      const length = Math.min(CHUNK, content.size - at);
      const bytes = content.read(at, length);
      if (bytes.length !== length)
        throw new ComposefsError(
          "invalid",
          `the content of ${name} ended after ${at + bytes.length} of ${content.size} bytes`,
          {
            hint: "it was cut while it was being read; is something writing to it?",
          },
        );
      yield bytes;
    }
    if (rawSize > content.size) yield new Uint8Array(rawSize - content.size);
  }
}

/** The file must be one whose parts are all known: what is not would be lost or point to the wrong place. */
function checkBase(base: Uint8Array, image: PeImage, what: string): void {
  const { pe, fileAlignment, header, signatureBytes } = image;
  if (signatureBytes > 0) {
    throw new ComposefsError("unsupported", `${what} is signed, and no signature outlives added sections`, {
      path: what,
      hint: `remove it first: sbattach --remove ${what}`,
    });
  }
  const loaded = pe.sections.filter((section) => section.rawSize > 0);
  for (const { name, rawPointer, rawSize } of loaded) {
    if (rawPointer + rawSize > base.length) {
      throw new ComposefsError("invalid", `${what} is cut off: its section ${name} ends behind the end of the file`, {
        path: what,
        reason: "uki-not-pe",
      });
    }
    if (rawPointer % fileAlignment !== 0)
      throw noRoom(what, `its section ${name} is not aligned to ${fileAlignment} bytes`);
  }
  const end = Math.max(0, ...loaded.map(({ rawPointer, rawSize }) => rawPointer + rawSize));
  const symbols = new DataView(base.buffer, base.byteOffset, base.byteLength).getUint32(header + 12, true);
  const rest = base.subarray(end, symbols >= end ? symbols : undefined);
  if (rest.some((byte) => byte !== 0)) throw noRoom(what, "unknown data follows its sections");
}

function moveData(view: DataView, image: PeImage, shift: number): void {
  const { pe, table } = image;
  for (const [index, section] of pe.sections.entries()) {
    if (section.rawPointer === 0) continue;
    view.setUint32(table + index * SECTION_HEADER + 20, section.rawPointer + shift, true);
  }
  // Debug entries say where their data is in the file as well as in memory.
  const directory = image.directoryAt(DEBUG_DIRECTORY);
  if (directory === undefined) return;
  const address = view.getUint32(directory, true);
  const size = view.getUint32(directory + 4, true);
  const home = pe.sections.find(
    (one) => address >= one.virtualAddress && address + size <= one.virtualAddress + one.rawSize,
  );
  if (home === undefined) return;
  const start = home.rawPointer + shift + (address - home.virtualAddress);
  for (let at = start; at + DEBUG_ENTRY <= start + size; at += DEBUG_ENTRY) {
    const pointer = view.getUint32(at + 24, true);
    if (pointer !== 0) view.setUint32(at + 24, pointer + shift, true);
  }
}

/** No symbol table; and the flag that says so. */
function dropSymbols(view: DataView, header: number): void {
  if (view.getUint32(header + 12, true) === 0) return;
  view.setUint32(header + 12, 0, true);
  view.setUint32(header + 16, 0, true);
  view.setUint16(header + 22, view.getUint16(header + 22, true) | 0x0008, true);
}

function nameBytes(name: ByteString): Uint8Array {
  if (name.length === 0 || name.length > 8) throw new ComposefsError("usage", `a section cannot be called "${name}"`);
  return fromByteString(name);
}

function roundUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function noRoom(what: string, why: string): ComposefsError {
  return new ComposefsError("unsupported", `sections cannot be added to ${what}: ${why}`, {
    path: what,
    hint: "use the stub of a current systemd, as it was installed",
  });
}

function tooLarge(name: string, size: number): ComposefsError {
  return new ComposefsError("limit", `the section ${name} of ${size} bytes does not fit into a PE file of 4 GiB`);
}
