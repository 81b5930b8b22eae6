// tar-split data of zstd:chunked layers: the archive without the contents of its files, as lines of JSON (docs/spec/oci.md, section 4.7).

import { ComposefsError } from "../../error.ts";
import { zstdDecompressFrames } from "../../runtime/zstd.ts";

/** A part of the archive: its own bytes, or the place of a content that is not empty. */
export type SplitPart =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "content"; readonly size: number };

/** Longest line: pax headers may be long, and base64 makes them longer. */
const MAX_LINE = 16 << 20;

/**
 * The parts of the archive, in its order.
 *
 * @param data as it is in the blob, compressed
 * @param limit bytes that it may decompress to
 * @throws ComposefsError `invalid`, `limit`
 */
export async function* splitParts(data: Uint8Array, limit: number): AsyncGenerator<SplitPart, void, undefined> {
  let rest: Uint8Array = new Uint8Array(0);
  let size = 0;
  for await (const chunk of zstdDecompressFrames([data], { what: "the tar-split data" })) {
    size += chunk.length;
    if (size > limit) throw new ComposefsError("limit", "the tar-split data is longer than it should be");
    let text = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10)) {
      const part = parseLine(text.subarray(0, end));
      if (part !== undefined) yield part;
      text = text.subarray(end + 1);
    }
    if (text.length > MAX_LINE) throw new ComposefsError("limit", "the tar-split data has a line of more than 16 MiB");
    rest = text.slice();
  }
  if (rest.length > 0) throw new ComposefsError("invalid", "the tar-split data ends inside a line");
}

function parseLine(line: Uint8Array): SplitPart | undefined {
  let fields: { type?: unknown; size?: unknown; payload?: unknown };
  try {
    fields = (JSON.parse(new TextDecoder().decode(line)) ?? {}) as typeof fields;
  } catch (error) {
    throw new ComposefsError("invalid", "the tar-split data has a line that is no JSON", { cause: error });
  }
  const { type, size = 0, payload } = fields;
  if (type === 2 && (typeof payload === "string" || payload === null || payload === undefined)) {
    return payload ? { kind: "bytes", bytes: Buffer.from(payload, "base64") } : undefined;
  }
  if (type === 1 && Number.isSafeInteger(size) && (size as number) >= 0) {
    return size === 0 ? undefined : { kind: "content", size: size as number };
  }
  throw new ComposefsError("invalid", "the tar-split data has a line of an unknown type");
}
