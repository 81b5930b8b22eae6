// Tags are file names below streams/refs/oci (docs/spec/oci.md, section 6.2).

import { ComposefsError } from "../error.ts";

/** Where tags are, below `streams/refs`. */
export const TAG_PREFIX = "oci";

/** The longest file name, in bytes. */
const NAME_MAX = 255;

/** The file name of a tag: `%` and `/` encoded, nothing else. Does not check the tag. */
export function encodeTag(tag: string): string {
  return tag.replaceAll("%", "%25").replaceAll("/", "%2F");
}

/** The tag of a file name. One pass; other `%xx` stay as they are. */
export function decodeTag(file: string): string {
  return file.replace(/%2F|%25/g, (code) => (code === "%2F" ? "/" : "%"));
}

/**
 * Checks that a name can be a tag, before anything is fetched.
 *
 * @returns its file name
 * @throws ComposefsError `invalid`
 */
export function checkTag(tag: string): string {
  const fail = (reason: string, hint: string) =>
    new ComposefsError("invalid", `${JSON.stringify(tag)} cannot be a tag: ${reason}`, { hint });
  if (tag === "") throw fail("it is empty", "give the image a name, for example os:latest");
  if (tag.startsWith("@")) throw fail("a leading @ is for digests", "give it a name that does not begin with @");
  if (tag === "." || tag === "..") throw fail("it is the name of a directory", "give the image another name");
  if (tag.includes("\0")) throw fail("it contains a NUL byte", "remove it");
  const file = encodeTag(tag);
  const length = Buffer.byteLength(file);
  if (length > NAME_MAX) {
    throw fail(
      `its file name would have ${length} bytes and ${NAME_MAX} is the limit (each / takes three)`,
      "name the image explicitly: composefs oci pull REFERENCE NAME",
    );
  }
  return file;
}
