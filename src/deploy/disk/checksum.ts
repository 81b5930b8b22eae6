// The two CRCs of disk images: CRC-32C in ext4 (docs/spec/vm-testing.md, section 8), CRC-32 in GPT headers (section 6).

function table(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value >>> 0;
  });
}

const CASTAGNOLI = table(0x82f63b78);
const ETHERNET = table(0xedb88320);

function update(entries: Uint32Array, state: number, bytes: Uint8Array): number {
  let value = state;
  for (let i = 0; i < bytes.length; i++)
    value = (entries[(value ^ (bytes[i] as number)) & 0xff] as number) ^ (value >>> 8);
  return value >>> 0;
}

/** CRC-32C as ext4 has it: no final inversion, so that a result is the seed of what follows. */
export function crc32c(bytes: Uint8Array, seed = 0xffffffff): number {
  return update(CASTAGNOLI, seed, bytes);
}

/** CRC-32 of the whole. */
export function crc32(bytes: Uint8Array): number {
  return (update(ETHERNET, 0xffffffff, bytes) ^ 0xffffffff) >>> 0;
}
