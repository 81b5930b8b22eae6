// The window that records are written into (records.ts). Records are whole: each fits, or waits for the next window.

/** A window of this size has room for any one record: the longest is a set of 65535 pairs. */
export const RECORD_ROOM: u32 = 1 << 19;

/** Where the next byte goes, and where the window ends. */
let at: usize = 0;
let end: usize = 0;

/** Starts a window. */
export function startWindow(window: usize, room: u32): void {
  at = window;
  end = window + room;
}

/** Number of bytes written since `window`, its start. */
export function writtenSince(window: usize): u32 {
  return <u32>(at - window);
}

/** Whether a record of that length still fits. */
@inline
export function fits(length: u32): bool {
  return length <= <u32>(end - at);
}

/** Starts a record that fits, with total length and kind; answers its address. The next bytes go behind its head. */
export function startRecord(length: u32, kind: u32, head: u32): usize {
  const record = at;
  store<u32>(record, length);
  store<u32>(record, kind, 4);
  at += head;
  return record;
}

/** Appends bytes to the record. */
export function appendBytes(from: usize, length: u32): void {
  memory.copy(at, from, length);
  at += length;
}
