// Decompression of layers, chosen by their first bytes and never by their media type (docs/spec/oci.md, section 4.2).

import { zstdDecompressFrames } from "../runtime/zstd.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { gunzip, startsMember } from "./gzip.ts";

/** How a layer is compressed. */
export type Compression = "none" | "gzip" | "zstd";

/** Options of {@link decompress}. */
export interface DecompressOptions {
  /** What the stream is called in messages. */
  name?: string;
  /** Told once, before the first byte comes out. */
  onCompression?: (compression: Compression) => void;
}

/** What the first bytes (four are enough) of a layer say about its compression. */
export function sniffCompression(bytes: Uint8Array): Compression {
  if (startsMember(bytes)) return "gzip";
  const [b0 = 0, b1, b2, b3] = bytes;
  if (b0 === 0x28 && b1 === 0xb5 && b2 === 0x2f && b3 === 0xfd) return "zstd";
  // A skippable frame, with which zstd files may begin.
  if (b0 >= 0x50 && b0 <= 0x5f && b1 === 0x2a && b2 === 0x4d && b3 === 0x18) return "zstd";
  return "none";
}

/**
 * The uncompressed bytes of a layer: gzip with any number of members, zstd with any number of frames, or the bytes as
 * they are. Reads the source to its end. Truncated or damaged data is an `invalid` error.
 *
 * @example
 * ```ts
 * for await (const bytes of decompress(createReadStream("layer.tar.gz"))) tar.push(bytes);
 * ```
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ChunkReader(source);
  try {
    const compression = sniffCompression(await reader.peek(4));
    options.onCompression?.(compression);
    const name = options.name ?? "layer";
    if (compression === "gzip") yield* gunzip(reader, name);
    else if (compression === "zstd") yield* zstdDecompressFrames(reader.rest(), { what: name });
    else yield* reader.rest();
  } finally {
    await reader.close();
  }
}
