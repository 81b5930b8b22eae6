// A set of object ids by directory, as they lie on disk: a hundred thousand names of 126 digits go in as they are listed,
// without being joined to their directory's, which would double the time of an inventory.

import type { ObjectId } from "../../bytes/algorithm.ts";

/** A set of object ids. Ids are not checked. */
export class ObjectSet implements Iterable<ObjectId> {
  readonly #directories = new Map<string, Set<string>>();

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
    const directory = id.slice(0, 2);
    const names = this.#directories.get(directory);
    if (names) names.add(id.slice(2));
    else this.#directories.set(directory, new Set([id.slice(2)]));
  }

  /** Adds all names of a directory. */
  addDirectory(directory: string, names: Iterable<string>): void {
    this.#directories.set(directory, new Set(names));
  }

  has(id: ObjectId): boolean {
    return this.#directories.get(id.slice(0, 2))?.has(id.slice(2)) === true;
  }

  delete(id: ObjectId): boolean {
    return this.#directories.get(id.slice(0, 2))?.delete(id.slice(2)) === true;
  }

  /** The ids that another set does not have. */
  *without(other: ObjectSet): Generator<ObjectId, void, undefined> {
    for (const [directory, names] of this.#directories) {
      const others = other.#directories.get(directory);
      for (const name of names) if (!others?.has(name)) yield directory + name;
    }
  }

  *[Symbol.iterator](): Generator<ObjectId, void, undefined> {
    for (const [directory, names] of this.#directories) for (const name of names) yield directory + name;
  }
}
