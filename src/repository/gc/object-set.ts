// Sets of objects as digests in bytes, back to back. A hundred thousand ids are 3 or 6 MB and a handful of allocations;
// looking one up compares a few numbers, where a string as key would be made, hashed whole and kept.

import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";
import { readHex, toHex } from "../../bytes/hex.ts";

/** What can be asked of a set of objects. */
export interface Objects extends Iterable<ObjectId> {
  readonly size: number;
  has(id: ObjectId): boolean;
}

// As many places fit a number of 53 bits behind 32 others.
const PLACES = 2 ** 21;

/** A set of object ids that does not change. Each has a place, a number from 0. */
export class ObjectSet implements Objects {
  readonly #digestSize: number;
  readonly #digests: Digests;
  // A hash table of chains: the first place of a chain and the next one, plus 1; 0 ends it.
  readonly #first: Uint32Array;
  readonly #next: Uint32Array;
  readonly #shift: number;
  // Whoever chooses names must not be able to choose the chains.
  readonly #seed = Math.floor(Math.random() * 2 ** 32);
  readonly #one: Digests;
  #size = 0;

  /** @param digests back to back, in any order; those that come again are left out. The set may keep and change them. */
  constructor(algorithm: Algorithm, digests: Uint8Array = new Uint8Array()) {
    const size = DIGEST_SIZE[algorithm];
    this.#digestSize = size;
    this.#one = new Digests(new Uint8Array(size), size);
    this.#digests = new Digests(digests, size);
    const { count } = this.#digests;
    const bits = Math.max(1, 32 - Math.clz32(count));
    this.#shift = 32 - bits;
    this.#first = new Uint32Array(2 ** bits);
    this.#next = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.#insert(i);
  }

  /** The set of some ids; what is none is left out. */
  static of(algorithm: Algorithm, ids: Iterable<ObjectId>): ObjectSet {
    const size = DIGEST_SIZE[algorithm];
    const texts = [...ids];
    const digests = new Uint8Array(texts.length * size);
    let end = 0;
    for (const text of texts) if (readId(text, digests, end, size)) end += size;
    return new ObjectSet(algorithm, digests.subarray(0, end));
  }

  get size(): number {
    return this.#size;
  }

  has(id: ObjectId): boolean {
    return this.placeOf(id) >= 0;
  }

  /** The place of an id, -1 when it is not in the set. */
  placeOf(id: ObjectId): number {
    return readId(id, this.#one.bytes, 0, this.#digestSize) ? this.#find(this.#one, 0) : -1;
  }

  /** The places of digests that lie back to back, -1 for those that are not in the set. */
  placesOf(digests: Uint8Array): Int32Array {
    const wanted = new Digests(digests, this.#digestSize);
    const places = new Int32Array(wanted.count);
    for (let i = 0; i < places.length; i++) places[i] = this.#find(wanted, i);
    return places;
  }

  /** The id at a place. */
  at(place: number): ObjectId {
    return this.#digests.id(place);
  }

  /** The digests of the places from one up to another, back to back. */
  digests(from: number, to: number): Uint8Array {
    return this.#digests.bytes.subarray(from * this.#digestSize, Math.min(to, this.#size) * this.#digestSize);
  }

  /** Sorts places by their ids. */
  sort(places: readonly number[]): number[] {
    const digests = this.#digests;
    const order = (a: number, b: number) => digests.compare(a, b);
    // As numbers made of the first bits and the place, for which sorting is native; only equal beginnings are compared whole.
    if (this.#size > PLACES) return places.toSorted(order);
    const keys = new Float64Array(places.length);
    for (let i = 0; i < keys.length; i++) {
      const place = places[i] as number;
      keys[i] = digests.beginning(place) * PLACES + place;
    }
    keys.sort();
    const sorted: number[] = [];
    let from = 0;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as number;
      if (i > 0 && Math.floor(key / PLACES) !== Math.floor((keys[i - 1] as number) / PLACES)) from = i;
      sorted.push(key % PLACES);
      // Runs of equal beginnings are as good as never longer than one.
      if (
        from < i &&
        (i + 1 === keys.length || Math.floor((keys[i + 1] as number) / PLACES) !== Math.floor(key / PLACES))
      )
        for (const one of sorted.splice(from).toSorted(order)) sorted.push(one);
    }
    return sorted;
  }

  /** The ids, sorted. */
  *[Symbol.iterator](): Generator<ObjectId, void, undefined> {
    for (const place of this.sort(Array.from({ length: this.#size }, (_, i) => i))) yield this.at(place);
  }

  #insert(index: number): void {
    const digests = this.#digests;
    const chain = digests.hash(index, this.#seed) >>> this.#shift;
    for (let link = this.#first[chain] as number; link > 0; link = this.#next[link - 1] as number)
      if (digests.equal(link - 1, digests, index)) return;
    const place = this.#size++;
    if (place !== index) digests.move(index, place);
    this.#next[place] = this.#first[chain] as number;
    this.#first[chain] = place + 1;
  }

  #find(wanted: Digests, index: number): number {
    const chain = wanted.hash(index, this.#seed) >>> this.#shift;
    for (let link = this.#first[chain] as number; link > 0; link = this.#next[link - 1] as number)
      if (this.#digests.equal(link - 1, wanted, index)) return link - 1;
    return -1;
  }
}

/** Marks on the ids of a set, and on ids that it does not have. */
export class ObjectMarks {
  readonly #objects: ObjectSet;
  readonly #marks: Uint8Array;
  readonly #missing = new Set<ObjectId>();

  constructor(objects: ObjectSet) {
    this.#objects = objects;
    this.#marks = new Uint8Array(objects.size);
  }

  /** Marks an id. */
  add(id: ObjectId): void {
    const place = this.#objects.placeOf(id);
    if (place >= 0) this.#marks[place] = 1;
    else this.#missing.add(id);
  }

  /** Marks digests of `size` bytes each that lie back to back. */
  addDigests(digests: Uint8Array): void {
    const places = this.#objects.placesOf(digests);
    const size = digests.length / places.length;
    for (let i = 0; i < places.length; i++) {
      const place = places[i] as number;
      if (place >= 0) this.#marks[place] = 1;
      else this.#missing.add(toHex(digests.subarray(i * size, (i + 1) * size)));
    }
  }

  /** Marks the ids of lines of digits, which are equally long. */
  addLines(lines: Uint8Array): void {
    const line = lines.indexOf(10) + 1;
    if (line === 0) return;
    const size = (line - 1) >> 1;
    const digests = new Uint8Array(size * Math.floor(lines.length / line));
    for (let at = 0, to = 0; to < digests.length; at += line, to += size) readHex(lines, at, digests, to, size);
    this.addDigests(digests);
  }

  has(id: ObjectId): boolean {
    const place = this.#objects.placeOf(id);
    return place < 0 ? this.#missing.has(id) : this.#marks[place] === 1;
  }

  /** Marked ids that the set does not have. */
  get missing(): ReadonlySet<ObjectId> {
    return this.#missing;
  }

  /** Ids of the set that are marked. */
  marked(): Generator<ObjectId, void, undefined> {
    return this.#select(1);
  }

  /** Ids of the set that are not marked. */
  unmarked(): Generator<ObjectId, void, undefined> {
    return this.#select(0);
  }

  *#select(mark: number): Generator<ObjectId, void, undefined> {
    const places: number[] = [];
    for (let place = this.#marks.indexOf(mark); place >= 0; place = this.#marks.indexOf(mark, place + 1))
      places.push(place);
    for (const place of this.#objects.sort(places)) yield this.#objects.at(place);
  }
}

/** Digests back to back, as bytes for their order and as numbers for being equal. */
class Digests {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly #size: number;
  readonly #words: Uint32Array;
  readonly #text: Buffer;

  constructor(bytes: Uint8Array, size: number) {
    this.count = Math.floor(bytes.length / size);
    this.#size = size;
    // A copy lies where numbers may.
    this.bytes = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
    this.#text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    this.#words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, this.count * (size / 4));
  }

  /** A number of 32 bits, of which the upper ones depend on all of the digest. */
  hash(index: number, seed: number): number {
    const size = this.#size >> 2;
    const from = index * size;
    let hash = seed;
    for (let i = from; i < from + size; i++) hash = Math.imul(hash ^ (this.#words[i] as number), 0x9e3779b1);
    return hash >>> 0;
  }

  equal(index: number, other: Digests, otherIndex: number): boolean {
    const size = this.#size >> 2;
    const a = this.#words;
    const b = other.#words;
    const from = index * size;
    const otherFrom = otherIndex * size;
    for (let i = 0; i < size; i++) if (a[from + i] !== b[otherFrom + i]) return false;
    return true;
  }

  /** The first 32 bits. */
  beginning(index: number): number {
    const { bytes } = this;
    const at = index * this.#size;
    const rest = ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    return (bytes[at] as number) * 2 ** 24 + rest;
  }

  compare(a: number, b: number): number {
    const size = this.#size;
    for (let i = 0; i < size; i++) {
      const difference = (this.bytes[a * size + i] as number) - (this.bytes[b * size + i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  move(from: number, to: number): void {
    this.bytes.copyWithin(to * this.#size, from * this.#size, (from + 1) * this.#size);
  }

  id(index: number): ObjectId {
    return this.#text.toString("hex", index * this.#size, (index + 1) * this.#size);
  }
}

// Not by way of latin1 bytes: a character beyond them would pass for a digit.
function readId(text: string, target: Uint8Array, to: number, size: number): boolean {
  if (text.length !== 2 * size) return false;
  for (let i = 0; i < size; i++) {
    const high = digit(text.charCodeAt(2 * i));
    const low = digit(text.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) return false;
    target[to + i] = (high << 4) | low;
  }
  return true;
}

function digit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}
