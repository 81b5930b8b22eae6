// Aliases by the directory that they are in (docs/spec/boot.md, section 3.5): a directory is looked up once, not each of its children.

import type { ByteString } from "../../bytes/byte-string.ts";

/** Aliases of paths. They hold for exactly these paths. */
export class AliasIndex {
  readonly #directories = new Map<ByteString, Map<ByteString, ByteString>>();

  constructor(aliases: ReadonlyMap<ByteString, ByteString>) {
    for (const [alias, target] of aliases) {
      const slash = alias.lastIndexOf("/") + 1;
      const base = alias.slice(0, slash);
      const names = this.#directories.get(base) ?? new Map<ByteString, ByteString>();
      this.#directories.set(base, names.set(alias.slice(slash), target));
    }
  }

  /** Targets by the names of a directory's children; `base` is its path with the slash at its end. */
  of(base: ByteString): ReadonlyMap<ByteString, ByteString> | undefined {
    return this.#directories.size === 0 ? undefined : this.#directories.get(base);
  }
}
