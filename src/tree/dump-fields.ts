// Fields of dump lines as text: escapes, numbers, times (docs/spec/dumpfile.md, sections 1.2, 1.3 and 4, column NEW).

import type { ByteString } from "../bytes/byte-string.ts";

/** A field that does not follow its grammar; the reader adds line and path. */
export class FieldError extends Error {
  readonly field: string;
  readonly kind: "invalid" | "limit";

  constructor(field: string, message: string, kind: "invalid" | "limit" = "invalid") {
    super(message);
    this.field = field;
    this.kind = kind;
  }
}

const NAMED: Record<string, string> = { "\\": "\\", n: "\n", r: "\r", t: "\t" };

/** The bytes that an escaped field stands for. */
export function unescapeField(text: ByteString, field: string): ByteString {
  if (!text.includes("\\")) return text;
  return text.replace(/\\(?:x([0-9a-fA-F]{2})|([\s\S]?))/g, (_, hex: string | undefined, kind: string | undefined) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    const named = NAMED[kind ?? ""];
    if (named !== undefined) return named;
    if (kind === "x") throw new FieldError(field, "\\x needs two hex digits");
    throw new FieldError(
      field,
      kind === "" ? "a backslash ends the field" : "unknown escape; only \\\\ \\n \\r \\t and \\xHH exist",
    );
  });
}

/** A decimal number up to `limit`. */
export function decimalField(text: string, limit: bigint, field: string): bigint {
  if (/^[0-9]+$/.test(text)) {
    const value = BigInt(text);
    if (value <= limit) return value;
  }
  throw new FieldError(field, `expected decimal digits of a number up to ${limit}`);
}

/** An octal number up to `limit`. */
export function octalField(text: string, limit: number, field: string): number {
  // More digits than any limit has need no exact value.
  const value = /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
  if (value <= limit) return value;
  throw new FieldError(field, `expected octal digits of a mode up to ${limit.toString(8)}`);
}

/** `sec.nsec`; seconds may be negative, also written as 2^64 - n. */
export function timeField(text: string): { mtimeSec: bigint; mtimeNsec: number } {
  const match = /^(-?)([0-9]+)\.([0-9]+)$/.exec(text);
  if (match === null) throw new FieldError("MTIME", "expected seconds, a dot and nanoseconds");
  const negative = match[1] === "-";
  const sec = BigInt(match[2] as string);
  if (sec > (negative ? 1n << 63n : (1n << 64n) - 1n)) {
    throw new FieldError("MTIME", "the seconds are not a number of 64 bits");
  }
  const nsec = BigInt(match[3] as string);
  if (nsec > 999_999_999n) throw new FieldError("MTIME", "the nanoseconds are not a number below 1000000000");
  return { mtimeSec: BigInt.asIntN(64, negative ? -sec : sec), mtimeNsec: Number(nsec) };
}
