// zstd on every runtime, in one place: see zstd-encode.ts and zstd-decode.ts.

export {
  MAX_WINDOW,
  type ZstdDecompressOptions,
  zstdDecompress,
  zstdDecompressFrames,
} from "./zstd-decode.ts";
export { DEFAULT_LEVEL, type ZstdCompressor, type ZstdEncoder, zstdCompress, zstdEncoder } from "./zstd-encode.ts";
