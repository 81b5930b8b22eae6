// Prefixes of xattr names that an index stands for (docs/spec/erofs.md, 10.1).

function startsWith(name: usize, nameLength: u32, prefix: string): bool {
  if (nameLength < <u32>prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) {
    if (load<u8>(name + i) != prefix.charCodeAt(i)) return false;
  }
  return true;
}

export const ACL_ACCESS: u8 = 2;
export const ACL_DEFAULT: u8 = 3;

/** The index of a stored name. Only version 2 knows `lustre.`. */
export function prefixIndex(name: usize, nameLength: u32, withLustre: bool): u8 {
  if (startsWith(name, nameLength, "user.")) return 1;
  if (startsWith(name, nameLength, "system.posix_acl_access")) return ACL_ACCESS;
  if (startsWith(name, nameLength, "system.posix_acl_default")) return ACL_DEFAULT;
  if (startsWith(name, nameLength, "trusted.")) return 4;
  if (withLustre && startsWith(name, nameLength, "lustre.")) return 5;
  return startsWith(name, nameLength, "security.") ? 6 : 0;
}

/** Length of the prefix that the index stands for. */
export function prefixLength(index: u8): u8 {
  if (index == 1) return 5;
  if (index == ACL_ACCESS) return 23;
  if (index == ACL_DEFAULT) return 24;
  if (index == 4) return 8;
  if (index == 5) return 7;
  return index == 6 ? 9 : 0;
}
