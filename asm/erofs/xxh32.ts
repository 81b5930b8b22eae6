// xxh32, the hash of the xattr name filter (docs/spec/erofs.md, 10.2).

const P1: u32 = 2654435761;
const P2: u32 = 2246822519;
const P3: u32 = 3266489917;
const P4: u32 = 668265263;
const P5: u32 = 374761393;

@inline
function lane(v: u32, data: usize): u32 {
  return rotl<u32>(v + load<u32>(data) * P2, 13) * P1;
}

/** xxh32 of the bytes with a seed. */
export function xxh32(data: usize, length: u32, seed: u32): u32 {
  const end = data + length;
  let h: u32;
  if (length >= 16) {
    let v0 = seed + P1 + P2;
    let v1 = seed + P2;
    let v2 = seed;
    let v3 = seed - P1;
    for (; data + 16 <= end; data += 16) {
      v0 = lane(v0, data);
      v1 = lane(v1, data + 4);
      v2 = lane(v2, data + 8);
      v3 = lane(v3, data + 12);
    }
    h = rotl<u32>(v0, 1) + rotl<u32>(v1, 7) + rotl<u32>(v2, 12) + rotl<u32>(v3, 18);
  } else {
    h = seed + P5;
  }
  h += length;
  for (; data + 4 <= end; data += 4) h = rotl<u32>(h + load<u32>(data) * P3, 17) * P4;
  for (; data < end; data++) h = rotl<u32>(h + <u32>load<u8>(data) * P5, 11) * P1;
  h = (h ^ (h >> 15)) * P2;
  h = (h ^ (h >> 13)) * P3;
  return h ^ (h >> 16);
}
