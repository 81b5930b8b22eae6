// The recipe of a layer's archive, `<layer id>.tar-split.gz` (docs/spec/containers-storage.md, sections 6 and 10): lines of JSON, each
// either bytes of the archive or the name, size and checksum of a file whose content comes next. Nothing in it is trusted.

import { createReadStream } from "node:fs";

import { type ByteString, toByteString, utf8ByteString } from "../../../bytes/byte-string.ts";
import { ComposefsError } from "../../../error.ts";
import { ChunkReader } from "../../chunk-reader.ts";
import { gunzip } from "../../gzip.ts";
import { storageError } from "./fault.ts";

/** A line of a recipe. */
export type RecipeLine =
  | { readonly kind: "segment"; readonly bytes: Uint8Array }
  | {
      readonly kind: "file";
      readonly line: number;
      readonly name: ByteString;
      /** Bytes, more than 0. */
      readonly size: number;
      /** CRC-64 of the content, 16 hex digits. */
      readonly checksum: string;
    };

/** A segment has up to 1 MiB, which is 1.4 MB of text; long extension headers are larger. */
const MAX_LINE = 64 << 20;

/**
 * The text of a recipe.
 *
 * @param size of the archive, where known: what is unpacked is bounded by it
 * @throws ComposefsError `not-found` (`no-tar-split`), `invalid` (`format`)
 */
export async function* recipeText(path: string, size: number | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  const limit = size === undefined ? Infinity : 4 * size + (64 << 20);
  const reader = new ChunkReader(createReadStream(path, { highWaterMark: 1 << 18 }));
  let total = 0;
  try {
    for await (const bytes of gunzip(reader, path)) {
      total += bytes.length;
      if (total > limit)
        throw storageError("format", `the recipe ${path} unpacks to more than ${limit} bytes`, { path });
      yield bytes;
    }
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") {
      throw storageError("no-tar-split", `the recipe of the archive is missing: ${path}`, { path, cause: error });
    }
    if (!(error instanceof ComposefsError) || error.code !== "invalid" || error.reason !== undefined) throw error;
    throw storageError("format", `the recipe of the archive is damaged: ${error.message}`, { path, cause: error });
  } finally {
    await reader.close();
  }
}

/**
 * The lines of a recipe. Files without content have none.
 *
 * @param name what the recipe is called in messages
 * @throws ComposefsError `invalid` (`format`), with the line
 */
export async function* recipeLines(
  text: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<RecipeLine, void, undefined> {
  let number = 0;
  for await (const bytes of splitLines(text, name)) {
    number++;
    const line = parseLine(bytes, (problem, cause) =>
      storageError("format", `${name}, line ${number}: ${problem}`, { path: name, line: number, cause }),
    );
    if (line === undefined) continue;
    yield line instanceof Uint8Array ? { kind: "segment", bytes: line } : { kind: "file", line: number, ...line };
  }
}

async function* splitLines(text: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  let begun: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of text) {
    let at = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, at)) {
      const rest = chunk.subarray(at, end);
      at = end + 1;
      if (begun.length === 0) yield rest;
      else yield Buffer.concat([...begun, rest]);
      begun = [];
      length = 0;
    }
    length += chunk.length - at;
    if (length > MAX_LINE) throw storageError("format", `${name} has a line of more than 64 MiB`, { path: name });
    if (at < chunk.length) begun.push(Buffer.from(chunk.subarray(at)));
  }
  if (length > 0) throw storageError("format", `${name} ends inside a line`, { path: name });
}

type Fail = (problem: string, cause?: unknown) => ComposefsError;

function parseLine(
  bytes: Uint8Array,
  fail: Fail,
): Uint8Array | { name: ByteString; size: number; checksum: string } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw fail("it is not valid JSON", error);
  }
  if (typeof value !== "object" || value === null) throw fail("it is no object");
  const { type, payload, name, name_raw: raw, size = 0 } = value as Record<string, unknown>;
  if (type === 2)
    return payload === null || payload === undefined ? new Uint8Array(0) : decoded(payload, "payload", fail);
  if (type !== 1) throw fail(`the type ${JSON.stringify(type)} is unknown`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw fail("its size is no size");
  if (size === 0) return undefined;
  const checksum = decoded(payload, "payload", fail);
  if (checksum.length !== 8) throw fail(`its checksum has ${checksum.length} bytes instead of 8`);
  const named =
    raw !== undefined && raw !== null
      ? toByteString(decoded(raw, "name_raw", fail))
      : typeof name === "string"
        ? utf8ByteString(name)
        : undefined;
  if (named === undefined) throw fail("a file with content has no name");
  return { name: named, size, checksum: Buffer.from(checksum).toString("hex") };
}

function decoded(text: unknown, key: string, fail: Fail): Uint8Array {
  if (typeof text !== "string" || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw fail(`its ${key} is not base64`);
  }
  return Buffer.from(text, "base64");
}
