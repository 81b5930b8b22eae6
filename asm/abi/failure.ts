// `result<_, failure>` and `result<T, failure>` of core.wit. The payload begins at 8 in both, as a failure holds a u64:
// code u8 at 0, line u64 at 8, field string at 16, path string at 24, message string at 32 (relative to the payload).

import { giveCopy, giveText, returnArea } from "./return-area";

/** The cases of `failure-code` in core.wit, in its order. */
export namespace FailureCode {
  export const SYNTAX: u8 = 0;
  export const PATH: u8 = 1;
  export const DUPLICATE: u8 = 2;
  export const MISSING_PARENT: u8 = 3;
  export const TYPE_CONFLICT: u8 = 4;
  export const HARDLINK: u8 = 5;
  export const LIMIT: u8 = 6;
  export const DIGEST: u8 = 7;
  export const STATE: u8 = 8;
  export const MEMORY: u8 = 9;
}

/** Offset of the payload of a `result` whose error case is a failure. */
export const PAYLOAD: usize = 8;

/** The ok case of `result<_, failure>`. */
export function returnOk(): usize {
  return returnArea();
}

function startFailure(code: u8, line: u64): usize {
  const area = returnArea();
  store<u8>(area, 1);
  store<u8>(area + PAYLOAD, code);
  store<u64>(area + PAYLOAD, line, 8);
  return area;
}

/** The error case, from texts. `line` is 0 and `field` empty when they do not apply. */
export function returnFailure(code: u8, line: u64, field: string, message: string): usize {
  const area = startFailure(code, line);
  giveText(PAYLOAD + 16, field);
  giveText(PAYLOAD + 24, "");
  giveText(PAYLOAD + 32, message);
  return area;
}

/** The error case, with path and message as UTF-8 bytes, which are copied. */
export function returnFailureBytes(
  code: u8,
  line: u64,
  field: string,
  path: usize,
  pathLength: usize,
  message: usize,
  messageLength: usize,
): usize {
  const area = startFailure(code, line);
  giveText(PAYLOAD + 16, field);
  giveCopy(PAYLOAD + 24, path, pathLength);
  giveCopy(PAYLOAD + 32, message, messageLength);
  return area;
}
