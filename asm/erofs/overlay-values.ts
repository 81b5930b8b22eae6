// Values of the xattrs of external files (docs/spec/erofs.md, 7.2).

import { Digest, digestBytes } from "./digests";
import { writeHex } from "./hex";

/** Writes the metacopy value of a digest: 4 + digestSize bytes. */
@inline
export function storeMetacopy(digest: Digest, digestSize: u32, to: usize): void {
  store<u8>(to, 0);
  store<u8>(to + 1, <u8>(4 + digestSize));
  store<u8>(to + 2, 0);
  store<u8>(to + 3, digestSize == 32 ? 1 : 2);
  memory.copy(to + 4, digestBytes(digest), digestSize);
}

/** Writes the redirect value, `/` and the object path: 2 + 2 * digestSize bytes. */
@inline
export function storeRedirect(digest: Digest, digestSize: u32, to: usize): void {
  // The digits go to their final place but for the first two, which move over the slash between.
  writeHex(digestBytes(digest), digestSize, to + 2);
  const first = load<u16>(to + 2);
  store<u8>(to, 0x2f);
  store<u16>(to + 1, first);
  store<u8>(to + 3, 0x2f);
}
