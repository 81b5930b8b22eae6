// What must hold for everything but directories (docs/spec/erofs.md, 17.5), and where the content of a leaf is.

import { Image, hasNul, hasStubs, refuseImage, refuseValue } from "./image";
import { CHAR, CHUNK_BASED, FLAT_PLAIN, Inode, REGULAR, SYMLINK, typeOf } from "./inode";
import { Reader } from "./reader";
import { Meaning } from "./xattr-names";
import { Xattr, XattrList, hasMarker, hasMeaning, xattrAt } from "./xattrs";

const MAX_TARGET: u32 = 4095;
const MAX_TARGET_V2: u32 = 1024;
const MAX_INLINE: u32 = 5000;
const MAX_INLINE_V2: u32 = 512;

/** Checks a leaf whose xattrs are in the reader's list. */
export function checkLeaf(reader: Reader, inode: Inode): bool {
  if (inode.nlink == 0) return refuseImage("nlink", "the link count is 0");
  const type = typeOf(inode);
  if (type == SYMLINK) return checkSymlink(reader.image, inode);
  if (type == REGULAR) return checkRegular(reader, inode);
  if (type == CHAR && inode.union == 0 && inode.nlink != 1) {
    return refuseImage("whiteout nlink", "a whiteout has more than one name");
  }
  return true;
}

function checkSymlink(image: Image, inode: Inode): bool {
  const longest = hasStubs(image) ? MAX_TARGET : MAX_TARGET_V2;
  if (inode.size == 0 || inode.size > longest) {
    return refuseValue("symlink", "the target of a symlink has an unsupported length: ", inode.size);
  }
  if (hasNul(targetOf(inode), <u32>inode.size)) {
    return refuseImage("symlink", "the target of a symlink holds a NUL byte");
  }
  return true;
}

/** Where the target of a symlink is: short enough for one block or the tail. */
@inline
export function targetOf(inode: Inode): usize {
  return inode.blockCount != 0 ? inode.blocks : inode.tail;
}

function checkRegular(reader: Reader, inode: Inode): bool {
  if (inode.layout == CHUNK_BASED) return checkExternal(reader, inode);
  const longest = hasStubs(reader.image) ? MAX_INLINE : MAX_INLINE_V2;
  if (inode.size > longest) return refuseValue("inline size", "a file in the image is too large: ", inode.size);
  if (hasMeaning(reader.xattrs, Meaning.METACOPY) || hasMeaning(reader.xattrs, Meaning.REDIRECT)) {
    return refuseImage("metacopy on inline file", "a file in the image has an overlay metacopy or redirect xattr");
  }
  return true;
}

function checkExternal(reader: Reader, inode: Inode): bool {
  const format = inode.union & 0xffff;
  if (format > 31) return refuseValue("chunk format", "unknown bits in the chunk format ", format);
  const list = reader.xattrs;
  if (hasMeaning(list, Meaning.METACOPY) && !checkMetacopy(reader, xattrAt(list, list.metacopy))) return false;
  if (!hasMeaning(list, Meaning.REDIRECT)) return true;
  const redirect = xattrAt(list, list.redirect);
  if (hasNul(redirect.value, redirect.valueLength)) {
    return refuseImage("redirect", "the redirect of a file holds a NUL byte");
  }
  return true;
}

/** Bytes before the digest: version 0, length, flags 0, algorithm. */
const METACOPY_HEADER: u32 = 4;

function checkMetacopy(reader: Reader, metacopy: Xattr): bool {
  if (metacopy.valueLength == 0) return true;
  const digestSize = metacopy.valueLength - METACOPY_HEADER;
  if (digestSize != 32 && digestSize != 64) {
    return refuseValue("metacopy", "the metacopy xattr holds no digest, its length is ", metacopy.valueLength);
  }
  const header = load<u32>(metacopy.value);
  const algorithm: u32 = digestSize == 32 ? 1 : 2;
  if (header != ((metacopy.valueLength << 8) | (algorithm << 24))) {
    return refuseImage("metacopy", "the metacopy xattr has an unknown form");
  }
  if (reader.digestSize == 0) reader.digestSize = digestSize;
  if (reader.digestSize == digestSize) return true;
  return refuseValue("metacopy", "the digest is of another algorithm, its length is ", digestSize);
}

/** The raw digest of an external file whose xattrs are in the list, or 0. */
export function digestOf(list: XattrList): usize {
  if (!hasMeaning(list, Meaning.METACOPY)) return 0;
  const metacopy = xattrAt(list, list.metacopy);
  return metacopy.valueLength == 0 ? 0 : metacopy.value + METACOPY_HEADER;
}

/** The redirect path of an external file without one leading slash; its length is `redirectLength`. 0 if there is none. */
export function redirectOf(list: XattrList): usize {
  redirectLength = 0;
  if (!hasMeaning(list, Meaning.REDIRECT)) return 0;
  const redirect = xattrAt(list, list.redirect);
  const slash = <u32>(redirect.valueLength != 0 && load<u8>(redirect.value) == 0x2f);
  redirectLength = redirect.valueLength - slash;
  return redirectLength == 0 ? 0 : redirect.value + slash;
}

export let redirectLength: u32 = 0;

/** Whether an empty file has all that makes it an escaped whiteout, if its directory is marked (17.5, the stricter rule of 17.6). */
export function looksLikeWhiteout(image: Image, inode: Inode, list: XattrList): bool {
  return (
    hasStubs(image) &&
    hasMarker(list, Meaning.WHITEOUT_TRUSTED) &&
    hasMarker(list, Meaning.WHITEOUT_USER) &&
    typeOf(inode) == REGULAR &&
    inode.layout == FLAT_PLAIN &&
    inode.size == 0 &&
    inode.nlink == 1
  );
}

/** Whether a directory has the markers that the writer puts on one with whiteouts. */
export function isMarked(image: Image, list: XattrList): bool {
  if (!hasStubs(image)) return false;
  if (!hasMarker(list, Meaning.WHITEOUTS_TRUSTED) || !hasMarker(list, Meaning.WHITEOUTS_USER)) return false;
  if (image.version == 0) return true;
  return hasMarker(list, Meaning.OPAQUE_TRUSTED) && hasMarker(list, Meaning.OPAQUE_USER);
}

/** Meanings, as a bit set, of the markers that reading takes away from an escaped whiteout. */
export const WHITEOUT_MARKERS: u32 = (1 << Meaning.WHITEOUT_TRUSTED) | (1 << Meaning.WHITEOUT_USER);

/** Those of the two opaque markers. */
export const OPAQUE_MARKERS: u32 = (1 << Meaning.OPAQUE_TRUSTED) | (1 << Meaning.OPAQUE_USER);

/** Meanings, as a bit set, of the markers that reading takes away from a directory with escaped whiteouts. */
export function directoryMarkers(image: Image): u32 {
  const whiteouts: u32 = (1 << Meaning.WHITEOUTS_TRUSTED) | (1 << Meaning.WHITEOUTS_USER);
  return image.version == 0 ? whiteouts : whiteouts | OPAQUE_MARKERS;
}

/** Whether a name is one of the 256 names `00`..`ff` of stubs. */
export function isStubName(name: usize, length: u32): bool {
  return length == 2 && isHexDigit(load<u8>(name)) && isHexDigit(load<u8>(name, 1));
}

@inline
function isHexDigit(byte: u32): bool {
  return byte - 0x30 <= 9 || byte - 0x61 <= 5;
}

/** Whether the leaf is a native whiteout: a stub in versions 0 and 1, where no other may be. */
@inline
export function isNativeWhiteout(inode: Inode): bool {
  return typeOf(inode) == CHAR && inode.union == 0;
}
