// Ids of objects as they lie on disk: by directory, so that a hundred thousand names of 126 digits go in as they are
// listed, without being joined to their directory's; and marks on them, which cost one look-up each.

import type { ObjectId } from "../../bytes/algorithm.ts";

/** A set of object ids. Ids are not checked. */
export class ObjectSet implements Iterable<ObjectId> {
  // Names to their number within the directory.
  readonly #directories = new Map<string, Map<string, number>>();
  // Numbers are never used again, so that marks stay right when ids are deleted.
  readonly #numbers = new Map<string, number>();

  constructor(ids: Iterable<ObjectId> = []) {
    for (const id of ids) this.add(id);
  }

  /** Number of ids. */
  get size(): number {
    let size = 0;
    for (const names of this.#directories.values()) size += names.size;
    return size;
  }

  add(id: ObjectId): void {
    this.addDirectory(id.slice(0, 2), [id.slice(2)]);
  }

  /** Adds names of one directory. */
  addDirectory(directory: string, names: Iterable<string>): void {
    let known = this.#directories.get(directory);
    if (!known) this.#directories.set(directory, (known = new Map()));
    let number = this.#numbers.get(directory) ?? 0;
    for (const name of names) if (!known.has(name)) known.set(name, number++);
    this.#numbers.set(directory, number);
  }

  has(id: ObjectId): boolean {
    return this.#directories.get(id.slice(0, 2))?.has(id.slice(2)) === true;
  }

  delete(id: ObjectId): boolean {
    return this.#directories.get(id.slice(0, 2))?.delete(id.slice(2)) === true;
  }

  /** Names by directory, each with its number. */
  directories(): Iterable<[string, ReadonlyMap<string, number>]> {
    return this.#directories;
  }

  *[Symbol.iterator](): Generator<ObjectId, void, undefined> {
    for (const [directory, names] of this.#directories) for (const name of names.keys()) yield directory + name;
  }
}

/** Marks on the ids of a set that does not grow meanwhile, and on ids that it does not have. */
export class ObjectMarks {
  readonly #objects: ObjectSet;
  readonly #marks = new Map<string, { names: ReadonlyMap<string, number>; bits: Uint8Array }>();
  readonly #missing = new Set<ObjectId>();

  constructor(objects: ObjectSet) {
    this.#objects = objects;
    for (const [directory, names] of objects.directories()) {
      let last = 0;
      for (const number of names.values()) last = Math.max(last, number + 1);
      this.#marks.set(directory, { names, bits: new Uint8Array(last) });
    }
  }

  /** Marks an id. */
  add(id: ObjectId): void {
    const marks = this.#marks.get(id.slice(0, 2));
    const number = marks?.names.get(id.slice(2));
    if (marks === undefined || number === undefined) this.#missing.add(id);
    else marks.bits[number] = 1;
  }

  has(id: ObjectId): boolean {
    const marks = this.#marks.get(id.slice(0, 2));
    const number = marks?.names.get(id.slice(2));
    return number === undefined ? this.#missing.has(id) : marks?.bits[number] === 1;
  }

  /** Marked ids that the set does not have. */
  get missing(): ReadonlySet<ObjectId> {
    return this.#missing;
  }

  /** Ids of the set that are marked. */
  *marked(): Generator<ObjectId, void, undefined> {
    yield* this.#select(1);
  }

  /** Ids of the set that are not marked. */
  *unmarked(): Generator<ObjectId, void, undefined> {
    yield* this.#select(0);
  }

  *#select(bit: number): Generator<ObjectId, void, undefined> {
    for (const [directory, names] of this.#objects.directories()) {
      const bits = this.#marks.get(directory)?.bits;
      for (const [name, number] of names) if ((bits?.[number] ?? 0) === bit) yield directory + name;
    }
  }
}
