// SHA-256 of four blocks of 4096 bytes at once, one in each 32-bit lane (FIPS 180-4, sections 4.1.2, 6.2).
// WebAssembly vectors have no rotation, so it takes two shifts; four lanes still win by more than two over the scalar code.

import { IV256, K256 } from "./constants";

const BLOCK_SIZE: usize = 4096;
const CHUNK_SIZE: usize = 64;

// @ts-ignore: decorator
@inline
function add(x: v128, y: v128): v128 {
  return i32x4.add(x, y);
}

// @ts-ignore: decorator
@inline
function rotate(x: v128, n: i32): v128 {
  return v128.or(i32x4.shr_u(x, n), i32x4.shl(x, 32 - n));
}

// @ts-ignore: decorator
@inline
function bigSigma0(x: v128): v128 {
  return v128.xor(v128.xor(rotate(x, 2), rotate(x, 13)), rotate(x, 22));
}

// @ts-ignore: decorator
@inline
function bigSigma1(x: v128): v128 {
  return v128.xor(v128.xor(rotate(x, 6), rotate(x, 11)), rotate(x, 25));
}

// @ts-ignore: decorator
@inline
function smallSigma0(x: v128): v128 {
  return v128.xor(v128.xor(rotate(x, 7), rotate(x, 18)), i32x4.shr_u(x, 3));
}

// @ts-ignore: decorator
@inline
function smallSigma1(x: v128): v128 {
  return v128.xor(v128.xor(rotate(x, 17), rotate(x, 19)), i32x4.shr_u(x, 10));
}

// @ts-ignore: decorator
@inline
function choose(x: v128, y: v128, z: v128): v128 {
  return v128.bitselect(y, z, x);
}

// @ts-ignore: decorator
@inline
function majority(x: v128, y: v128, z: v128): v128 {
  return v128.bitselect(z, x, v128.xor(x, y));
}

/** Four big-endian words. */
// @ts-ignore: decorator
@inline
function words(address: usize): v128 {
  const bytes = v128.load(address);
  return v128.shuffle<u8>(bytes, bytes, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/** Stores one word of each of the four digests. */
// @ts-ignore: decorator
@inline
function storeWord(output: usize, word: v128): void {
  store<u32>(output, bswap(i32x4.extract_lane(word, 0)));
  store<u32>(output, bswap(i32x4.extract_lane(word, 1)), 32);
  store<u32>(output, bswap(i32x4.extract_lane(word, 2)), 64);
  store<u32>(output, bswap(i32x4.extract_lane(word, 3)), 96);
}

/**
 * Writes the digests of the blocks at `p`, `q`, `r` and `s` to `output`, 32 bytes each. The same block may come twice: to
 * leave lanes unused costs nothing.
 *
 * Structured like `compress256`. The chunk behind the block's last is the padding of a message of 4096 bytes.
 */
export function hashFourBlocks256(p: usize, q: usize, r: usize, s: usize, output: usize): void {
  const ZERO = i32x4.splat(0);
  let a = v128.load32_splat(IV256);
  let b = v128.load32_splat(IV256, 4);
  let c = v128.load32_splat(IV256, 8);
  let d = v128.load32_splat(IV256, 12);
  let e = v128.load32_splat(IV256, 16);
  let f = v128.load32_splat(IV256, 20);
  let g = v128.load32_splat(IV256, 24);
  let h = v128.load32_splat(IV256, 28);
  for (let at: usize = 0; at <= BLOCK_SIZE; at += CHUNK_SIZE) {
    let w0: v128;
    let w1: v128;
    let w2: v128;
    let w3: v128;
    let w4: v128;
    let w5: v128;
    let w6: v128;
    let w7: v128;
    let w8: v128;
    let w9: v128;
    let w10: v128;
    let w11: v128;
    let w12: v128;
    let w13: v128;
    let w14: v128;
    let w15: v128;
    if (at < BLOCK_SIZE) {
      let l0: v128, l1: v128, l2: v128, l3: v128, p0: v128, p1: v128;
      l0 = words(p + at);
      l1 = words(q + at);
      l2 = words(r + at);
      l3 = words(s + at);
      p0 = v128.shuffle<u32>(l0, l1, 0, 4, 1, 5);
      p1 = v128.shuffle<u32>(l2, l3, 0, 4, 1, 5);
      w0 = v128.shuffle<u64>(p0, p1, 0, 2);
      w1 = v128.shuffle<u64>(p0, p1, 1, 3);
      p0 = v128.shuffle<u32>(l0, l1, 2, 6, 3, 7);
      p1 = v128.shuffle<u32>(l2, l3, 2, 6, 3, 7);
      w2 = v128.shuffle<u64>(p0, p1, 0, 2);
      w3 = v128.shuffle<u64>(p0, p1, 1, 3);
      l0 = words(p + at + 16);
      l1 = words(q + at + 16);
      l2 = words(r + at + 16);
      l3 = words(s + at + 16);
      p0 = v128.shuffle<u32>(l0, l1, 0, 4, 1, 5);
      p1 = v128.shuffle<u32>(l2, l3, 0, 4, 1, 5);
      w4 = v128.shuffle<u64>(p0, p1, 0, 2);
      w5 = v128.shuffle<u64>(p0, p1, 1, 3);
      p0 = v128.shuffle<u32>(l0, l1, 2, 6, 3, 7);
      p1 = v128.shuffle<u32>(l2, l3, 2, 6, 3, 7);
      w6 = v128.shuffle<u64>(p0, p1, 0, 2);
      w7 = v128.shuffle<u64>(p0, p1, 1, 3);
      l0 = words(p + at + 32);
      l1 = words(q + at + 32);
      l2 = words(r + at + 32);
      l3 = words(s + at + 32);
      p0 = v128.shuffle<u32>(l0, l1, 0, 4, 1, 5);
      p1 = v128.shuffle<u32>(l2, l3, 0, 4, 1, 5);
      w8 = v128.shuffle<u64>(p0, p1, 0, 2);
      w9 = v128.shuffle<u64>(p0, p1, 1, 3);
      p0 = v128.shuffle<u32>(l0, l1, 2, 6, 3, 7);
      p1 = v128.shuffle<u32>(l2, l3, 2, 6, 3, 7);
      w10 = v128.shuffle<u64>(p0, p1, 0, 2);
      w11 = v128.shuffle<u64>(p0, p1, 1, 3);
      l0 = words(p + at + 48);
      l1 = words(q + at + 48);
      l2 = words(r + at + 48);
      l3 = words(s + at + 48);
      p0 = v128.shuffle<u32>(l0, l1, 0, 4, 1, 5);
      p1 = v128.shuffle<u32>(l2, l3, 0, 4, 1, 5);
      w12 = v128.shuffle<u64>(p0, p1, 0, 2);
      w13 = v128.shuffle<u64>(p0, p1, 1, 3);
      p0 = v128.shuffle<u32>(l0, l1, 2, 6, 3, 7);
      p1 = v128.shuffle<u32>(l2, l3, 2, 6, 3, 7);
      w14 = v128.shuffle<u64>(p0, p1, 0, 2);
      w15 = v128.shuffle<u64>(p0, p1, 1, 3);
    } else {
      w0 = i32x4.splat(0x80000000);
      w1 = ZERO;
      w2 = ZERO;
      w3 = ZERO;
      w4 = ZERO;
      w5 = ZERO;
      w6 = ZERO;
      w7 = ZERO;
      w8 = ZERO;
      w9 = ZERO;
      w10 = ZERO;
      w11 = ZERO;
      w12 = ZERO;
      w13 = ZERO;
      w14 = ZERO;
      w15 = i32x4.splat(8 * <i32>BLOCK_SIZE);
    }
    const a0 = a;
    const b0 = b;
    const c0 = c;
    const d0 = d;
    const e0 = e;
    const f0 = f;
    const g0 = g;
    const h0 = h;
    let t: v128;
    t = add(add(h, add(v128.load32_splat(K256, 0 * 4), w0)), add(choose(e, f, g), bigSigma1(e)));
    d = add(d, t);
    h = add(t, add(bigSigma0(a), majority(a, b, c)));
    t = add(add(g, add(v128.load32_splat(K256, 1 * 4), w1)), add(choose(d, e, f), bigSigma1(d)));
    c = add(c, t);
    g = add(t, add(bigSigma0(h), majority(h, a, b)));
    t = add(add(f, add(v128.load32_splat(K256, 2 * 4), w2)), add(choose(c, d, e), bigSigma1(c)));
    b = add(b, t);
    f = add(t, add(bigSigma0(g), majority(g, h, a)));
    t = add(add(e, add(v128.load32_splat(K256, 3 * 4), w3)), add(choose(b, c, d), bigSigma1(b)));
    a = add(a, t);
    e = add(t, add(bigSigma0(f), majority(f, g, h)));
    t = add(add(d, add(v128.load32_splat(K256, 4 * 4), w4)), add(choose(a, b, c), bigSigma1(a)));
    h = add(h, t);
    d = add(t, add(bigSigma0(e), majority(e, f, g)));
    t = add(add(c, add(v128.load32_splat(K256, 5 * 4), w5)), add(choose(h, a, b), bigSigma1(h)));
    g = add(g, t);
    c = add(t, add(bigSigma0(d), majority(d, e, f)));
    t = add(add(b, add(v128.load32_splat(K256, 6 * 4), w6)), add(choose(g, h, a), bigSigma1(g)));
    f = add(f, t);
    b = add(t, add(bigSigma0(c), majority(c, d, e)));
    t = add(add(a, add(v128.load32_splat(K256, 7 * 4), w7)), add(choose(f, g, h), bigSigma1(f)));
    e = add(e, t);
    a = add(t, add(bigSigma0(b), majority(b, c, d)));
    t = add(add(h, add(v128.load32_splat(K256, 8 * 4), w8)), add(choose(e, f, g), bigSigma1(e)));
    d = add(d, t);
    h = add(t, add(bigSigma0(a), majority(a, b, c)));
    t = add(add(g, add(v128.load32_splat(K256, 9 * 4), w9)), add(choose(d, e, f), bigSigma1(d)));
    c = add(c, t);
    g = add(t, add(bigSigma0(h), majority(h, a, b)));
    t = add(add(f, add(v128.load32_splat(K256, 10 * 4), w10)), add(choose(c, d, e), bigSigma1(c)));
    b = add(b, t);
    f = add(t, add(bigSigma0(g), majority(g, h, a)));
    t = add(add(e, add(v128.load32_splat(K256, 11 * 4), w11)), add(choose(b, c, d), bigSigma1(b)));
    a = add(a, t);
    e = add(t, add(bigSigma0(f), majority(f, g, h)));
    t = add(add(d, add(v128.load32_splat(K256, 12 * 4), w12)), add(choose(a, b, c), bigSigma1(a)));
    h = add(h, t);
    d = add(t, add(bigSigma0(e), majority(e, f, g)));
    t = add(add(c, add(v128.load32_splat(K256, 13 * 4), w13)), add(choose(h, a, b), bigSigma1(h)));
    g = add(g, t);
    c = add(t, add(bigSigma0(d), majority(d, e, f)));
    t = add(add(b, add(v128.load32_splat(K256, 14 * 4), w14)), add(choose(g, h, a), bigSigma1(g)));
    f = add(f, t);
    b = add(t, add(bigSigma0(c), majority(c, d, e)));
    t = add(add(a, add(v128.load32_splat(K256, 15 * 4), w15)), add(choose(f, g, h), bigSigma1(f)));
    e = add(e, t);
    a = add(t, add(bigSigma0(b), majority(b, c, d)));
    for (let k = K256 + 64; k < K256 + 256; k += 64) {
      w0 = add(add(w0, smallSigma0(w1)), add(w9, smallSigma1(w14)));
      t = add(add(h, add(v128.load32_splat(k, 0 * 4), w0)), add(choose(e, f, g), bigSigma1(e)));
      d = add(d, t);
      h = add(t, add(bigSigma0(a), majority(a, b, c)));
      w1 = add(add(w1, smallSigma0(w2)), add(w10, smallSigma1(w15)));
      t = add(add(g, add(v128.load32_splat(k, 1 * 4), w1)), add(choose(d, e, f), bigSigma1(d)));
      c = add(c, t);
      g = add(t, add(bigSigma0(h), majority(h, a, b)));
      w2 = add(add(w2, smallSigma0(w3)), add(w11, smallSigma1(w0)));
      t = add(add(f, add(v128.load32_splat(k, 2 * 4), w2)), add(choose(c, d, e), bigSigma1(c)));
      b = add(b, t);
      f = add(t, add(bigSigma0(g), majority(g, h, a)));
      w3 = add(add(w3, smallSigma0(w4)), add(w12, smallSigma1(w1)));
      t = add(add(e, add(v128.load32_splat(k, 3 * 4), w3)), add(choose(b, c, d), bigSigma1(b)));
      a = add(a, t);
      e = add(t, add(bigSigma0(f), majority(f, g, h)));
      w4 = add(add(w4, smallSigma0(w5)), add(w13, smallSigma1(w2)));
      t = add(add(d, add(v128.load32_splat(k, 4 * 4), w4)), add(choose(a, b, c), bigSigma1(a)));
      h = add(h, t);
      d = add(t, add(bigSigma0(e), majority(e, f, g)));
      w5 = add(add(w5, smallSigma0(w6)), add(w14, smallSigma1(w3)));
      t = add(add(c, add(v128.load32_splat(k, 5 * 4), w5)), add(choose(h, a, b), bigSigma1(h)));
      g = add(g, t);
      c = add(t, add(bigSigma0(d), majority(d, e, f)));
      w6 = add(add(w6, smallSigma0(w7)), add(w15, smallSigma1(w4)));
      t = add(add(b, add(v128.load32_splat(k, 6 * 4), w6)), add(choose(g, h, a), bigSigma1(g)));
      f = add(f, t);
      b = add(t, add(bigSigma0(c), majority(c, d, e)));
      w7 = add(add(w7, smallSigma0(w8)), add(w0, smallSigma1(w5)));
      t = add(add(a, add(v128.load32_splat(k, 7 * 4), w7)), add(choose(f, g, h), bigSigma1(f)));
      e = add(e, t);
      a = add(t, add(bigSigma0(b), majority(b, c, d)));
      w8 = add(add(w8, smallSigma0(w9)), add(w1, smallSigma1(w6)));
      t = add(add(h, add(v128.load32_splat(k, 8 * 4), w8)), add(choose(e, f, g), bigSigma1(e)));
      d = add(d, t);
      h = add(t, add(bigSigma0(a), majority(a, b, c)));
      w9 = add(add(w9, smallSigma0(w10)), add(w2, smallSigma1(w7)));
      t = add(add(g, add(v128.load32_splat(k, 9 * 4), w9)), add(choose(d, e, f), bigSigma1(d)));
      c = add(c, t);
      g = add(t, add(bigSigma0(h), majority(h, a, b)));
      w10 = add(add(w10, smallSigma0(w11)), add(w3, smallSigma1(w8)));
      t = add(add(f, add(v128.load32_splat(k, 10 * 4), w10)), add(choose(c, d, e), bigSigma1(c)));
      b = add(b, t);
      f = add(t, add(bigSigma0(g), majority(g, h, a)));
      w11 = add(add(w11, smallSigma0(w12)), add(w4, smallSigma1(w9)));
      t = add(add(e, add(v128.load32_splat(k, 11 * 4), w11)), add(choose(b, c, d), bigSigma1(b)));
      a = add(a, t);
      e = add(t, add(bigSigma0(f), majority(f, g, h)));
      w12 = add(add(w12, smallSigma0(w13)), add(w5, smallSigma1(w10)));
      t = add(add(d, add(v128.load32_splat(k, 12 * 4), w12)), add(choose(a, b, c), bigSigma1(a)));
      h = add(h, t);
      d = add(t, add(bigSigma0(e), majority(e, f, g)));
      w13 = add(add(w13, smallSigma0(w14)), add(w6, smallSigma1(w11)));
      t = add(add(c, add(v128.load32_splat(k, 13 * 4), w13)), add(choose(h, a, b), bigSigma1(h)));
      g = add(g, t);
      c = add(t, add(bigSigma0(d), majority(d, e, f)));
      w14 = add(add(w14, smallSigma0(w15)), add(w7, smallSigma1(w12)));
      t = add(add(b, add(v128.load32_splat(k, 14 * 4), w14)), add(choose(g, h, a), bigSigma1(g)));
      f = add(f, t);
      b = add(t, add(bigSigma0(c), majority(c, d, e)));
      w15 = add(add(w15, smallSigma0(w0)), add(w8, smallSigma1(w13)));
      t = add(add(a, add(v128.load32_splat(k, 15 * 4), w15)), add(choose(f, g, h), bigSigma1(f)));
      e = add(e, t);
      a = add(t, add(bigSigma0(b), majority(b, c, d)));
    }
    a = add(a, a0);
    b = add(b, b0);
    c = add(c, c0);
    d = add(d, d0);
    e = add(e, e0);
    f = add(f, f0);
    g = add(g, g0);
    h = add(h, h0);
  }
  storeWord(output, a);
  storeWord(output + 4, b);
  storeWord(output + 8, c);
  storeWord(output + 12, d);
  storeWord(output + 16, e);
  storeWord(output + 20, f);
  storeWord(output + 24, g);
  storeWord(output + 28, h);
}
