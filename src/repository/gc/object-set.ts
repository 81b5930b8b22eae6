// Ids of objects as they lie on disk: for each of the 256 directories the sorted names back to back, as bytes. A hundred
// thousand ids of 128 digits are 13 MB and one allocation per directory; looking one up compares a few bytes, where a
// string as key would be hashed whole.

import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";

interface Directory {
  /** `xx`. */
  prefix: string;
  count: number;
  names: Uint8Array;
  /** The first four bytes of each name as a number: the search stays within a few kilobytes, the names are megabytes. */
  heads: Uint32Array;
}

/** What can be asked of a set of objects. */
export interface Objects extends Iterable<ObjectId> {
  readonly size: number;
  has(id: ObjectId): boolean;
}

/** A set of object ids that does not change once it is filled. */
export class ObjectSet implements Objects {
  readonly #nameLength: number;
  readonly #directories: (Directory | undefined)[] = Array.from({ length: 256 }, () => undefined);
  #size = 0;

  constructor(algorithm: Algorithm) {
    this.#nameLength = 2 * DIGEST_SIZE[algorithm] - 2;
  }

  /** The set of some ids. */
  static of(algorithm: Algorithm, ids: Iterable<ObjectId>): ObjectSet {
    const byDirectory = new Map<string, string[]>();
    for (const id of new Set(ids)) {
      const prefix = id.slice(0, 2);
      const names = byDirectory.get(prefix);
      if (names) names.push(id.slice(2));
      else byDirectory.set(prefix, [id.slice(2)]);
    }
    const set = new ObjectSet(algorithm);
    for (const [prefix, names] of byDirectory) set.addDirectory(prefix, names.toSorted());
    return set;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Sets the names of one directory.
   *
   * @param prefix `xx`, two digits
   * @param names sorted, each once, all of the length that the algorithm gives; ASCII
   */
  addDirectory(prefix: string, names: readonly string[]): void {
    const bytes = Buffer.from(names.join(""), "latin1");
    const number = Number.parseInt(prefix, 16);
    this.#size += names.length - (this.#directories[number]?.count ?? 0);
    const heads = new Uint32Array(names.length);
    for (let i = 0; i < names.length; i++) heads[i] = head(bytes, i * this.#nameLength);
    this.#directories[number] = { prefix, count: names.length, names: bytes, heads };
  }

  has(id: ObjectId): boolean {
    const text = Buffer.from(id, "latin1");
    return text.length === this.#nameLength + 2 && this.find(text, 0) >= 0;
  }

  /**
   * Where an id is within its directory, -1 when it is not there.
   *
   * @param digits holds the digits of the id, complete, at `at`
   */
  find(digits: Uint8Array, at: number): number {
    const directory = this.#directories[directoryNumber(digits, at)];
    if (directory === undefined) return -1;
    const { names, heads, count } = directory;
    const length = this.#nameLength;
    const wanted = head(digits, at + 2);
    let low = lowerBound(heads, wanted);
    if (low === count || heads[low] !== wanted) return -1;
    let high = heads[low + 1] === wanted ? lowerBound(heads, wanted + 1) : low + 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const start = middle * length;
      let i = 0;
      while (i < length && names[start + i] === digits[at + 2 + i]) i++;
      if (i === length) return middle;
      if ((names[start + i] as number) < (digits[at + 2 + i] as number)) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  /** Number of names in a directory, by its number. */
  count(directory: number): number {
    return this.#directories[directory]?.count ?? 0;
  }

  /** The id at a place in a directory. */
  at(directory: number, index: number): ObjectId {
    const { prefix, names } = this.#directories[directory] as Directory;
    const start = index * this.#nameLength;
    return prefix + Buffer.from(names.buffer, names.byteOffset + start, this.#nameLength).toString("latin1");
  }

  *[Symbol.iterator](): Generator<ObjectId, void, undefined> {
    for (let directory = 0; directory < 256; directory++)
      for (let index = 0; index < this.count(directory); index++) yield this.at(directory, index);
  }
}

/** Marks on the ids of a set, and on ids that it does not have. */
export class ObjectMarks {
  readonly #objects: ObjectSet;
  readonly #marks: Uint8Array[];
  readonly #missing = new Set<ObjectId>();

  constructor(objects: ObjectSet) {
    this.#objects = objects;
    this.#marks = Array.from({ length: 256 }, (_, directory) => new Uint8Array(objects.count(directory)));
  }

  /** Marks an id. */
  add(id: ObjectId): void {
    this.addDigits(Buffer.from(id, "latin1"), 0, id.length);
  }

  /** Marks the id whose digits are at `at`. */
  addDigits(digits: Uint8Array, at: number, length: number): void {
    const index = this.#objects.find(digits, at);
    if (index >= 0) (this.#marks[directoryNumber(digits, at)] as Uint8Array)[index] = 1;
    else this.#missing.add(Buffer.from(digits.buffer, digits.byteOffset + at, length).toString("latin1"));
  }

  /** Marks the ids of lines of digits. */
  addLines(lines: Uint8Array): void {
    const length = lines.indexOf(10);
    for (let at = 0; at + length < lines.length; at += length + 1) this.addDigits(lines, at, length);
  }

  has(id: ObjectId): boolean {
    const digits = Buffer.from(id, "latin1");
    const index = this.#objects.find(digits, 0);
    return index < 0 ? this.#missing.has(id) : this.#marks[directoryNumber(digits, 0)]?.[index] === 1;
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

  *#select(bit: number): Generator<ObjectId, void, undefined> {
    for (const [directory, marks] of this.#marks.entries())
      for (let index = marks.indexOf(bit); index >= 0; index = marks.indexOf(bit, index + 1))
        yield this.#objects.at(directory, index);
  }
}

function head(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}

function lowerBound(numbers: Uint32Array, wanted: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

function directoryNumber(digits: Uint8Array, at: number): number {
  return digit(digits[at]) * 16 + digit(digits[at + 1]);
}

// Anything but a digit gives a number that no directory has.
function digit(code: number | undefined): number {
  if (code === undefined) return 256;
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : 256;
}
