// The xattrs that a scan reads, as sets that nodes share: most files of a tree have none, or the same few.

import { type ByteString, compareBytes } from "../../bytes/byte-string.ts";
import { NO_XATTRS, type Xattrs } from "../node.ts";

/** Sets whose text is longer are rarely the same, and would be kept twice. */
const LONGEST_KEY = 4096;

/** Makes sets out of names and values; equal ones are the same object. */
export class XattrSets {
  readonly #sets = new Map<string, Xattrs>();
  #lastKey = "";
  #last: Xattrs = NO_XATTRS;

  /** The set of a flat list of names and values. */
  set(list: readonly ByteString[]): Xattrs {
    if (list.length === 0) return NO_XATTRS;
    // Lengths keep apart what the values, which may hold any byte, would join.
    const key = list.map((text) => `${text.length}:${text}`).join("");
    if (key === this.#lastKey) return this.#last;
    let set = this.#sets.get(key);
    if (set === undefined) {
      const pairs: [ByteString, ByteString][] = [];
      for (let i = 0; i < list.length; i += 2) pairs.push([list[i] as ByteString, list[i + 1] as ByteString]);
      set = new Map(pairs.sort(([a], [b]) => compareBytes(a, b)));
      if (key.length <= LONGEST_KEY) this.#sets.set(key, set);
    }
    this.#lastKey = key;
    this.#last = set;
    return set;
  }
}
