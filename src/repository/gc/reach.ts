// Which objects are alive (docs/spec/repository.md, section 9.1): pure over an inventory and a reader of references.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError } from "../../error.ts";
import type { Splitstream } from "../../splitstream/read.ts";
import type { CategoryInventory, Entry, Inventory } from "./inventory.ts";
import { ObjectMarks } from "./object-set.ts";

/** Gives what objects refer to; each failure is an error with a message for people. */
export interface ReferenceReader {
  /** The tables of a splitstream, after its object was verified. */
  stream(id: ObjectId): Promise<Pick<Splitstream, "objectTable" | "namedRefs">>;
  /** The objects of an image, after it was verified: gives lines of hex digits. */
  image(id: ObjectId, sink: (lines: Uint8Array) => void): Promise<void>;
  /** Whether an object that is there begins like a splitstream. */
  looksLikeStream(id: ObjectId): boolean;
}

/** Something that keeps the walk from being complete: nothing may be deleted then. */
export interface WalkProblem {
  /** Path in the repository. */
  path: string;
  message: string;
}

/** The result of a walk. */
export interface Reach {
  live: ObjectMarks;
  problems: WalkProblem[];
  /** The entries that refs and extra roots keep. */
  roots: { streams: string[]; images: string[] };
}

/**
 * Walks from all roots. Goes on after problems, to report all of them.
 *
 * @param extraRoots content ids and image ids; `refs/NAME` is accepted too
 * @throws ComposefsError `not-found` for an extra root that does not exist
 */
export async function reach(
  inventory: Inventory,
  reader: ReferenceReader,
  extraRoots: readonly string[] = [],
): Promise<Reach> {
  const walk = new Walk(inventory, reader);
  const roots = {
    images: walk.roots("images", inventory.images, extraRoots),
    streams: walk.roots("streams", inventory.streams, extraRoots),
  };
  checkExtraRoots(inventory, extraRoots);
  await walk.images(roots.images);
  await walk.streams(roots.streams);
  const names = (entries: readonly Entry[]) => entries.map(({ name }) => name);
  return {
    live: walk.live,
    problems: walk.problems,
    roots: { images: names(roots.images), streams: names(roots.streams) },
  };
}

// A typing error here would delete what was to be kept.
function checkExtraRoots({ streams, images }: Inventory, extraRoots: readonly string[]): void {
  for (const root of extraRoots) {
    const known = [streams, images].some(
      ({ entries, refs }) =>
        entries.some(({ name }) => name === root) || refs.some(({ name }) => `refs/${name}` === root),
    );
    if (!known)
      throw new ComposefsError("not-found", `there is no stream or image ${root} to keep`, {
        hint: "roots are named by their content id (oci-manifest-sha256:...) or image id; nothing was deleted",
      });
  }
}

class Walk {
  readonly live: ObjectMarks;
  readonly problems: WalkProblem[] = [];
  readonly #inventory: Inventory;
  readonly #reader: ReferenceReader;

  constructor(inventory: Inventory, reader: ReferenceReader) {
    this.live = new ObjectMarks(inventory.objects);
    this.#inventory = inventory;
    this.#reader = reader;
  }

  /** The entries that refs and extra roots name, each once. Everything that is odd becomes a problem. */
  roots(category: "streams" | "images", { entries, refs }: CategoryInventory, extraRoots: readonly string[]): Entry[] {
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    for (const { name, target, object } of entries) {
      if (target === undefined) this.#problem(`${category}/${name}`, "is not a symbolic link");
      else if (object === undefined) this.#problem(`${category}/${name}`, `leads to no object: ${target}`);
    }
    const found = new Set<Entry>();
    for (const ref of refs) {
      const path = `${category}/refs/${ref.name}`;
      const entry = ref.entry === undefined ? undefined : byName.get(ref.entry);
      if (ref.target === undefined) this.#problem(path, "is neither a directory nor a symbolic link");
      else if (entry === undefined) this.#problem(path, `names what is not there: ${ref.target}`);
      else found.add(entry);
    }
    for (const root of extraRoots) {
      const entry = byName.get(root);
      if (entry) found.add(entry);
    }
    return [...found];
  }

  async images(roots: readonly Entry[]): Promise<void> {
    for (const { name, object } of roots) {
      if (object === undefined) continue;
      this.live.add(object);
      try {
        await this.#reader.image(object, (lines) => this.live.addLines(lines));
      } catch (error) {
        this.#problem(`images/${name}`, error);
      }
    }
  }

  async streams(roots: readonly Entry[]): Promise<void> {
    // The first name of an object, for messages.
    const names = new Map<ObjectId, string>();
    for (const { name, object } of this.#inventory.streams.entries)
      if (object !== undefined && !names.has(object)) names.set(object, `streams/${name}`);
    const pending: { id: ObjectId; path: string }[] = [];
    const seen = new Set<ObjectId>();
    const enter = (id: ObjectId, path: string) => {
      if (!seen.has(id)) pending.push({ id, path });
      seen.add(id);
    };
    for (const { name, object } of roots) if (object !== undefined) enter(object, `streams/${name}`);
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { id, path } = next;
      this.live.add(id);
      try {
        const { objectTable, namedRefs } = await this.#reader.stream(id);
        this.live.addDigests(objectTable);
        for (const [ref, object] of namedRefs) {
          this.live.add(object);
          const name = names.get(object);
          // Named streams, and those whose name was given to another one meanwhile. The rest are images.
          if (name !== undefined) enter(object, name);
          else if (this.#inventory.objects.has(object) && this.#reader.looksLikeStream(object))
            enter(object, `${path}: ${ref}`);
        }
      } catch (error) {
        this.#problem(path, error);
      }
    }
  }

  #problem(path: string, cause: unknown): void {
    this.problems.push({ path, message: cause instanceof Error ? cause.message : String(cause) });
  }
}
