// Xattr names: the prefixes that an index stands for, the order of full names, and the names that overlayfs gives a
// meaning (docs/spec/erofs.md, 7, 10.1 and 17.3).

import { compareBytes, equalBytes } from "../erofs/bytes";

/** Number of name indexes. */
export const INDEXES: u32 = 7;
const LONGEST_PREFIX: usize = 24;

/** `user.` */
const USER: usize = memory.data<u8>([0x75, 0x73, 0x65, 0x72, 0x2e]);
/** `system.posix_acl_access` */
const ACL_ACCESS: usize = memory.data<u8>([
  0x73, 0x79, 0x73, 0x74, 0x65, 0x6d, 0x2e, 0x70, 0x6f, 0x73, 0x69, 0x78, 0x5f, 0x61, 0x63, 0x6c, 0x5f, 0x61, 0x63, 0x63,
  0x65, 0x73, 0x73,
]);
/** `system.posix_acl_default` */
const ACL_DEFAULT: usize = memory.data<u8>([
  0x73, 0x79, 0x73, 0x74, 0x65, 0x6d, 0x2e, 0x70, 0x6f, 0x73, 0x69, 0x78, 0x5f, 0x61, 0x63, 0x6c, 0x5f, 0x64, 0x65, 0x66,
  0x61, 0x75, 0x6c, 0x74,
]);
/** `trusted.` */
const TRUSTED: usize = memory.data<u8>([0x74, 0x72, 0x75, 0x73, 0x74, 0x65, 0x64, 0x2e]);
/** `lustre.` */
const LUSTRE: usize = memory.data<u8>([0x6c, 0x75, 0x73, 0x74, 0x72, 0x65, 0x2e]);
/** `security.` */
const SECURITY: usize = memory.data<u8>([0x73, 0x65, 0x63, 0x75, 0x72, 0x69, 0x74, 0x79, 0x2e]);

export const USER_INDEX: u32 = 1;
export const TRUSTED_INDEX: u32 = 4;

/** Where the prefix of an index is. */
export function prefixOf(index: u32): usize {
  if (index == 1) return USER;
  if (index == 2) return ACL_ACCESS;
  if (index == 3) return ACL_DEFAULT;
  if (index == 4) return TRUSTED;
  if (index == 5) return LUSTRE;
  return SECURITY;
}

/** Length of the prefix of an index; index 0 has none. */
export function prefixLength(index: u32): u32 {
  if (index == 0) return 0;
  if (index == 1) return 5;
  if (index == 2) return 23;
  if (index == 3) return <u32>LONGEST_PREFIX;
  if (index == 4) return 8;
  return index == 5 ? 7 : 9;
}

/** The index whose prefix the name begins with, or 0. */
export function indexOfName(name: usize, length: u32): u32 {
  for (let index: u32 = 1; index < INDEXES; index++) {
    const prefix = prefixLength(index);
    if (length >= prefix && equalBytes(name, prefixOf(index), prefix)) return index;
  }
  return 0;
}

/**
 * Compares full names given as index and rest. A name of index 0 begins with no prefix, and no prefix begins with another,
 * so names of different indexes differ within the prefixes.
 */
export function compareNames(index: u32, name: usize, length: u32, index2: u32, name2: usize, length2: u32): i32 {
  if (index == index2) return compareBytes(name, length, name2, length2);
  if (index == 0) return compareBytes(name, length, prefixOf(index2), prefixLength(index2));
  if (index2 == 0) return compareBytes(prefixOf(index), prefixLength(index), name2, length2);
  return compareBytes(prefixOf(index), prefixLength(index), prefixOf(index2), prefixLength(index2));
}

/** What a name means to overlayfs. Those from MARKER on are the names that an inode may have twice (17.3). */
export namespace Meaning {
  export const NONE: u32 = 0;
  /** trusted.overlay.metacopy */
  export const METACOPY: u32 = 1;
  /** trusted.overlay.redirect */
  export const REDIRECT: u32 = 2;
  /** trusted.overlay.opaque */
  export const OPAQUE: u32 = 3;
  /** Any other trusted.overlay.X that is not escaped. */
  export const OVERLAY: u32 = 4;
  /** trusted.overlay.overlay.X: one of the user's, escaped. */
  export const ESCAPED: u32 = 5;
  export const MARKER: u32 = 6;
  /** trusted.overlay.overlay.whiteout and user.overlay.whiteout: on an escaped whiteout. */
  export const WHITEOUT_TRUSTED: u32 = 6;
  export const WHITEOUT_USER: u32 = 7;
  /** trusted.overlay.overlay.whiteouts and user.overlay.whiteouts: on its directory. */
  export const WHITEOUTS_TRUSTED: u32 = 8;
  export const WHITEOUTS_USER: u32 = 9;
  /** trusted.overlay.overlay.opaque and user.overlay.opaque: on its directory as well. */
  export const OPAQUE_TRUSTED: u32 = 10;
  export const OPAQUE_USER: u32 = 11;
  export const COUNT: u32 = 12;
}

/** Names as little-endian words: `overlay.`, `metacopy`, `redirect`, `whiteout`; the first 4 and last 2 bytes of `opaque`. */
const OVERLAY_WORD: u64 = 0x2e79616c7265766f;
const METACOPY_WORD: u64 = 0x79706f636174656d;
const REDIRECT_WORD: u64 = 0x7463657269646572;
const WHITEOUT_WORD: u64 = 0x74756f6574696877;
const OPAQ_WORD: u32 = 0x7161706f;
const UE_WORD: u16 = 0x6575;

/** Length of `overlay.`. */
export const OVERLAY_LENGTH: u32 = 8;

/** What the name means. Whether it is allowed at that inode is another question. */
export function meaningOf(index: u32, name: usize, length: u32): u32 {
  if (index != TRUSTED_INDEX && index != USER_INDEX) return Meaning.NONE;
  if (length < OVERLAY_LENGTH || load<u64>(name) != OVERLAY_WORD) return Meaning.NONE;
  name += OVERLAY_LENGTH;
  length -= OVERLAY_LENGTH;
  if (index == USER_INDEX) return markerOf(name, length, 1, Meaning.NONE);
  if (length >= OVERLAY_LENGTH && load<u64>(name) == OVERLAY_WORD) {
    return markerOf(name + OVERLAY_LENGTH, length - OVERLAY_LENGTH, 0, Meaning.ESCAPED);
  }
  if (length == 8 && load<u64>(name) == METACOPY_WORD) return Meaning.METACOPY;
  if (length == 8 && load<u64>(name) == REDIRECT_WORD) return Meaning.REDIRECT;
  return isOpaque(name, length) ? Meaning.OPAQUE : Meaning.OVERLAY;
}

@inline
function isOpaque(name: usize, length: u32): bool {
  return length == 6 && load<u32>(name) == OPAQ_WORD && load<u16>(name, 4) == UE_WORD;
}

/** `user` is 1 for the user. twin of a marker. */
function markerOf(name: usize, length: u32, user: u32, otherwise: u32): u32 {
  if (length == 8 && load<u64>(name) == WHITEOUT_WORD) return Meaning.WHITEOUT_TRUSTED + user;
  if (length == 9 && load<u64>(name) == WHITEOUT_WORD && load<u8>(name, 8) == 0x73) {
    return Meaning.WHITEOUTS_TRUSTED + user;
  }
  return isOpaque(name, length) ? Meaning.OPAQUE_TRUSTED + user : otherwise;
}
