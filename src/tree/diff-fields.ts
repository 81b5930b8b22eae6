// The fields in which two trees can differ.

/**
 * The fields that are compared. `content` is what a file holds: bytes in the image, or a digest; `object` where it lies; `links` are
 * the other names of the same file.
 */
export const DIFF_FIELDS = [
  "type",
  "mode",
  "uid",
  "gid",
  "mtime",
  "size",
  "target",
  "content",
  "object",
  "rdev",
  "links",
  "xattr",
] as const;

/** One of {@link DIFF_FIELDS}. */
export type DiffField = (typeof DIFF_FIELDS)[number];
