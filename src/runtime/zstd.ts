// zstd on every runtime, in one place: see zstd-encode.ts and zstd-decode.ts.

export { zstdDecompress, zstdDecompressFrames } from "./zstd-decode.ts";
export { type ZstdCompressor, zstdCompress, zstdEncoder } from "./zstd-encode.ts";
