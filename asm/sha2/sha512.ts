// SHA-512, one message at a time (FIPS 180-4, sections 4.1, 6.4).

import { IV512, K512 } from "./constants";

/** rotr 28, 34, 39: nested rotations need fewer copies of the operand. */
// @ts-ignore: decorator
@inline
function bigSigma0(x: u64): u64 {
  return rotr<u64>(rotr<u64>(rotr<u64>(x, 5) ^ x, 6) ^ x, 28);
}

/** rotr 14, 18, 41: nested rotations need fewer copies of the operand. */
// @ts-ignore: decorator
@inline
function bigSigma1(x: u64): u64 {
  return rotr<u64>(rotr<u64>(rotr<u64>(x, 23) ^ x, 4) ^ x, 14);
}

// @ts-ignore: decorator
@inline
function smallSigma0(x: u64): u64 {
  return rotr<u64>(x, 1) ^ rotr<u64>(x, 8) ^ (x >> 7);
}

// @ts-ignore: decorator
@inline
function smallSigma1(x: u64): u64 {
  return rotr<u64>(x, 19) ^ rotr<u64>(x, 61) ^ (x >> 6);
}

// @ts-ignore: decorator
@inline
function choose(x: u64, y: u64, z: u64): u64 {
  return z ^ (x & (y ^ z));
}

// @ts-ignore: decorator
@inline
function majority(x: u64, y: u64, z: u64): u64 {
  return (x & y) | (z & (x | y));
}

/** Length of a chunk that is compressed at once. */
const CHUNK: usize = 128;

/**
 * Feeds `count` chunks at `data` into the state at `state`, eight words in the machine's order.
 *
 * Sixteen rounds are written out, so that the eight working variables need no moves and the message schedule stays in
 * locals. Each word is expanded right before its round, so that the two chains of dependent operations overlap (measured:
 * 12 % faster than expanding sixteen words at once, 15 % faster than all 80 rounds written out).
 */
export function compress512(state: usize, data: usize, count: usize): void {
  let a = load<u64>(state);
  let b = load<u64>(state, 8);
  let c = load<u64>(state, 16);
  let d = load<u64>(state, 24);
  let e = load<u64>(state, 32);
  let f = load<u64>(state, 40);
  let g = load<u64>(state, 48);
  let h = load<u64>(state, 56);
  const end = data + count * CHUNK;
  for (; data < end; data += CHUNK) {
    let w0 = bswap(load<u64>(data));
    let w1 = bswap(load<u64>(data, 8));
    let w2 = bswap(load<u64>(data, 16));
    let w3 = bswap(load<u64>(data, 24));
    let w4 = bswap(load<u64>(data, 32));
    let w5 = bswap(load<u64>(data, 40));
    let w6 = bswap(load<u64>(data, 48));
    let w7 = bswap(load<u64>(data, 56));
    let w8 = bswap(load<u64>(data, 64));
    let w9 = bswap(load<u64>(data, 72));
    let w10 = bswap(load<u64>(data, 80));
    let w11 = bswap(load<u64>(data, 88));
    let w12 = bswap(load<u64>(data, 96));
    let w13 = bswap(load<u64>(data, 104));
    let w14 = bswap(load<u64>(data, 112));
    let w15 = bswap(load<u64>(data, 120));
    let t: u64;
    t = h + choose(e, f, g) + (load<u64>(K512, 0 * 8) + w0) + bigSigma1(e);
    d += t;
    h = t + (bigSigma0(a) + majority(a, b, c));
    t = g + choose(d, e, f) + (load<u64>(K512, 1 * 8) + w1) + bigSigma1(d);
    c += t;
    g = t + (bigSigma0(h) + majority(h, a, b));
    t = f + choose(c, d, e) + (load<u64>(K512, 2 * 8) + w2) + bigSigma1(c);
    b += t;
    f = t + (bigSigma0(g) + majority(g, h, a));
    t = e + choose(b, c, d) + (load<u64>(K512, 3 * 8) + w3) + bigSigma1(b);
    a += t;
    e = t + (bigSigma0(f) + majority(f, g, h));
    t = d + choose(a, b, c) + (load<u64>(K512, 4 * 8) + w4) + bigSigma1(a);
    h += t;
    d = t + (bigSigma0(e) + majority(e, f, g));
    t = c + choose(h, a, b) + (load<u64>(K512, 5 * 8) + w5) + bigSigma1(h);
    g += t;
    c = t + (bigSigma0(d) + majority(d, e, f));
    t = b + choose(g, h, a) + (load<u64>(K512, 6 * 8) + w6) + bigSigma1(g);
    f += t;
    b = t + (bigSigma0(c) + majority(c, d, e));
    t = a + choose(f, g, h) + (load<u64>(K512, 7 * 8) + w7) + bigSigma1(f);
    e += t;
    a = t + (bigSigma0(b) + majority(b, c, d));
    t = h + choose(e, f, g) + (load<u64>(K512, 8 * 8) + w8) + bigSigma1(e);
    d += t;
    h = t + (bigSigma0(a) + majority(a, b, c));
    t = g + choose(d, e, f) + (load<u64>(K512, 9 * 8) + w9) + bigSigma1(d);
    c += t;
    g = t + (bigSigma0(h) + majority(h, a, b));
    t = f + choose(c, d, e) + (load<u64>(K512, 10 * 8) + w10) + bigSigma1(c);
    b += t;
    f = t + (bigSigma0(g) + majority(g, h, a));
    t = e + choose(b, c, d) + (load<u64>(K512, 11 * 8) + w11) + bigSigma1(b);
    a += t;
    e = t + (bigSigma0(f) + majority(f, g, h));
    t = d + choose(a, b, c) + (load<u64>(K512, 12 * 8) + w12) + bigSigma1(a);
    h += t;
    d = t + (bigSigma0(e) + majority(e, f, g));
    t = c + choose(h, a, b) + (load<u64>(K512, 13 * 8) + w13) + bigSigma1(h);
    g += t;
    c = t + (bigSigma0(d) + majority(d, e, f));
    t = b + choose(g, h, a) + (load<u64>(K512, 14 * 8) + w14) + bigSigma1(g);
    f += t;
    b = t + (bigSigma0(c) + majority(c, d, e));
    t = a + choose(f, g, h) + (load<u64>(K512, 15 * 8) + w15) + bigSigma1(f);
    e += t;
    a = t + (bigSigma0(b) + majority(b, c, d));
    for (let k = K512 + 128; k < K512 + 640; k += 128) {
      w0 += smallSigma0(w1) + w9 + smallSigma1(w14);
      t = h + choose(e, f, g) + (load<u64>(k, 0 * 8) + w0) + bigSigma1(e);
      d += t;
      h = t + (bigSigma0(a) + majority(a, b, c));
      w1 += smallSigma0(w2) + w10 + smallSigma1(w15);
      t = g + choose(d, e, f) + (load<u64>(k, 1 * 8) + w1) + bigSigma1(d);
      c += t;
      g = t + (bigSigma0(h) + majority(h, a, b));
      w2 += smallSigma0(w3) + w11 + smallSigma1(w0);
      t = f + choose(c, d, e) + (load<u64>(k, 2 * 8) + w2) + bigSigma1(c);
      b += t;
      f = t + (bigSigma0(g) + majority(g, h, a));
      w3 += smallSigma0(w4) + w12 + smallSigma1(w1);
      t = e + choose(b, c, d) + (load<u64>(k, 3 * 8) + w3) + bigSigma1(b);
      a += t;
      e = t + (bigSigma0(f) + majority(f, g, h));
      w4 += smallSigma0(w5) + w13 + smallSigma1(w2);
      t = d + choose(a, b, c) + (load<u64>(k, 4 * 8) + w4) + bigSigma1(a);
      h += t;
      d = t + (bigSigma0(e) + majority(e, f, g));
      w5 += smallSigma0(w6) + w14 + smallSigma1(w3);
      t = c + choose(h, a, b) + (load<u64>(k, 5 * 8) + w5) + bigSigma1(h);
      g += t;
      c = t + (bigSigma0(d) + majority(d, e, f));
      w6 += smallSigma0(w7) + w15 + smallSigma1(w4);
      t = b + choose(g, h, a) + (load<u64>(k, 6 * 8) + w6) + bigSigma1(g);
      f += t;
      b = t + (bigSigma0(c) + majority(c, d, e));
      w7 += smallSigma0(w8) + w0 + smallSigma1(w5);
      t = a + choose(f, g, h) + (load<u64>(k, 7 * 8) + w7) + bigSigma1(f);
      e += t;
      a = t + (bigSigma0(b) + majority(b, c, d));
      w8 += smallSigma0(w9) + w1 + smallSigma1(w6);
      t = h + choose(e, f, g) + (load<u64>(k, 8 * 8) + w8) + bigSigma1(e);
      d += t;
      h = t + (bigSigma0(a) + majority(a, b, c));
      w9 += smallSigma0(w10) + w2 + smallSigma1(w7);
      t = g + choose(d, e, f) + (load<u64>(k, 9 * 8) + w9) + bigSigma1(d);
      c += t;
      g = t + (bigSigma0(h) + majority(h, a, b));
      w10 += smallSigma0(w11) + w3 + smallSigma1(w8);
      t = f + choose(c, d, e) + (load<u64>(k, 10 * 8) + w10) + bigSigma1(c);
      b += t;
      f = t + (bigSigma0(g) + majority(g, h, a));
      w11 += smallSigma0(w12) + w4 + smallSigma1(w9);
      t = e + choose(b, c, d) + (load<u64>(k, 11 * 8) + w11) + bigSigma1(b);
      a += t;
      e = t + (bigSigma0(f) + majority(f, g, h));
      w12 += smallSigma0(w13) + w5 + smallSigma1(w10);
      t = d + choose(a, b, c) + (load<u64>(k, 12 * 8) + w12) + bigSigma1(a);
      h += t;
      d = t + (bigSigma0(e) + majority(e, f, g));
      w13 += smallSigma0(w14) + w6 + smallSigma1(w11);
      t = c + choose(h, a, b) + (load<u64>(k, 13 * 8) + w13) + bigSigma1(h);
      g += t;
      c = t + (bigSigma0(d) + majority(d, e, f));
      w14 += smallSigma0(w15) + w7 + smallSigma1(w12);
      t = b + choose(g, h, a) + (load<u64>(k, 14 * 8) + w14) + bigSigma1(g);
      f += t;
      b = t + (bigSigma0(c) + majority(c, d, e));
      w15 += smallSigma0(w0) + w8 + smallSigma1(w13);
      t = a + choose(f, g, h) + (load<u64>(k, 15 * 8) + w15) + bigSigma1(f);
      e += t;
      a = t + (bigSigma0(b) + majority(b, c, d));
    }
    a += load<u64>(state);
    store<u64>(state, a);
    b += load<u64>(state, 8);
    store<u64>(state, b, 8);
    c += load<u64>(state, 16);
    store<u64>(state, c, 16);
    d += load<u64>(state, 24);
    store<u64>(state, d, 24);
    e += load<u64>(state, 32);
    store<u64>(state, e, 32);
    f += load<u64>(state, 40);
    store<u64>(state, f, 40);
    g += load<u64>(state, 48);
    store<u64>(state, g, 48);
    h += load<u64>(state, 56);
    store<u64>(state, h, 56);
  }
}

/** Sets the state at `state` to the initial one. */
export function init512(state: usize): void {
  memory.copy(state, IV512, 64);
}

/** Writes the state as a digest. */
export function store512(state: usize, output: usize): void {
  for (let i: usize = 0; i < 64; i += 8) store<u64>(output + i, bswap(load<u64>(state + i)));
}
