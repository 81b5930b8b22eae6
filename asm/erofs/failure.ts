// The refusal that is being reported. Functions that can refuse answer false after calling one of these; the glue in
// exports.ts reads it at once, so one refusal per module is enough.

import { FailureCode, returnFailureBytes } from "../abi/failure";

export { FailureCode };

/** Line of the dump, 0 when it does not apply. */
export let failureLine: u64 = 0;
export let failureCode: u8 = 0;
export let failureField: string = "";

const PATH_ROOM: u32 = 16640;
const MESSAGE_ROOM: u32 = 512;
const PATH: usize = memory.data(16640, 16);
const MESSAGE: usize = memory.data(512, 16);
export let failurePathLength: u32 = 0;
export let failureMessageLength: u32 = 0;

export function failurePath(): usize {
  return PATH;
}

export function failureMessage(): usize {
  return MESSAGE;
}

/** Starts a refusal with a message that begins with `message`. Answers false. */
export function refuse(code: u8, field: string, message: string): bool {
  failureCode = code;
  failureField = field;
  failureLine = 0;
  failurePathLength = 0;
  failureMessageLength = 0;
  return say(message);
}

/** Appends text to the message. Answers false. */
export function say(text: string): bool {
  for (let i = 0; i < text.length && failureMessageLength < MESSAGE_ROOM; i++) {
    store<u8>(MESSAGE + failureMessageLength++, <u8>text.charCodeAt(i));
  }
  return false;
}

/** Appends a number to the message. Answers false. */
export function sayNumber(value: u64): bool {
  let divisor: u64 = 1;
  while (value / divisor >= 10) divisor *= 10;
  for (; divisor != 0 && failureMessageLength < MESSAGE_ROOM; divisor /= 10) {
    store<u8>(MESSAGE + failureMessageLength++, <u8>(0x30 + ((value / divisor) % 10)));
  }
  return false;
}

/** Appends bytes to the message, escaped as in dumps, at most the first 200. Answers false. */
export function sayBytes(data: usize, length: u32): bool {
  const shown = min<u32>(length, 200);
  for (let i: u32 = 0; i < shown && failureMessageLength + 4 < MESSAGE_ROOM; i++) {
    failureMessageLength += storeEscaped(MESSAGE + failureMessageLength, load<u8>(data + i));
  }
  return shown < length ? say("...") : false;
}

/** The refusal for exhausted memory. Answers false. */
export function refuseMemory(): bool {
  return refuse(FailureCode.MEMORY, "", "the tree does not fit into the 4 GiB of memory that WebAssembly has");
}

/** Sets the line of the refusal. Answers false. */
export function atLine(line: u64): bool {
  failureLine = line;
  return false;
}

/** Sets the path of the refusal to bytes, which are escaped. Answers false. */
export function atPath(path: usize, length: u32): bool {
  failurePathLength = 0;
  for (let i: u32 = 0; i < length && failurePathLength + 4 < PATH_ROOM; i++) {
    failurePathLength += storeEscaped(PATH + failurePathLength, load<u8>(path + i));
  }
  return false;
}

/** Puts `/NAME` in front of the path of the refusal. */
export function prependToPath(name: usize, length: u32): void {
  if (failurePathLength + 4 * length + 1 > PATH_ROOM) return;
  const kept = failurePathLength;
  // Escape behind what is there, then rotate by copying through the free room behind it.
  memory.copy(PATH + 4 * length + 1, PATH, kept);
  let used: u32 = 1;
  store<u8>(PATH, 0x2f);
  for (let i: u32 = 0; i < length; i++) used += storeEscaped(PATH + used, load<u8>(name + i));
  memory.copy(PATH + used, PATH + 4 * length + 1, kept);
  failurePathLength = used + kept;
}

function hexDigit(value: u32): u8 {
  return <u8>(value < 10 ? 0x30 + value : 0x57 + value);
}

/** Writes one byte as in dumps (docs/spec/dumpfile.md, 6.2); answers the length, at most 4. */
export function storeEscaped(to: usize, byte: u32): u32 {
  let named: u32 = 0;
  if (byte == 0x5c) named = 0x5c;
  else if (byte == 0x0a) named = 0x6e;
  else if (byte == 0x0d) named = 0x72;
  else if (byte == 0x09) named = 0x74;
  if (named != 0) {
    store<u8>(to, 0x5c);
    store<u8>(to + 1, <u8>named);
    return 2;
  }
  if (byte > 0x20 && byte < 0x7f) {
    store<u8>(to, <u8>byte);
    return 1;
  }
  store<u16>(to, 0x785c);
  store<u8>(to + 2, hexDigit(byte >> 4));
  store<u8>(to + 3, hexDigit(byte & 15));
  return 4;
}

/** The refusal as the error case of a result, or as `some` of an option, which look alike: what exports.ts answers. */
export function returnRefusal(): usize {
  return returnFailureBytes(
    failureCode,
    failureLine,
    failureField,
    failurePath(),
    failurePathLength,
    failureMessage(),
    failureMessageLength,
  );
}
