// The fixed parts of the file format (docs/spec/splitstream.md, sections 1.1 to 1.3).

/** First bytes of a file in the current header layout. */
export const MAGIC = "SplitStream";
/** Bytes of the header. */
export const HEADER_SIZE = 32;
/** Bytes of the info section that have a meaning. */
export const INFO_SIZE = 80;
/** Where the magic is in the header layout of old repositories. */
export const OLD_MAGIC_OFFSET = 18;
/** log2 of the only fs-verity block size. */
export const LG_BLOCK_SIZE = 12;
/** Largest decompressed name table that is accepted, in bytes. */
export const MAX_NAMED_REFS = 64 << 20;
