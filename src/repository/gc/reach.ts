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
  /** What refs lead to although it is missing or damaged; only with {@link ReachOptions.brokenRefs} `skip`. */
  skipped: WalkProblem[];
  /** The entries that refs and extra roots keep. */
  roots: { streams: string[]; images: string[] };
}

/** What a walk starts from besides the refs, and what it puts up with. */
export interface ReachOptions {
  /** Content ids and image ids; `refs/NAME` is accepted too. */
  readonly roots?: readonly string[] | undefined;
  /** What a root is that does not exist: an error when left out. */
  readonly unknownRoots?: "error" | "ignore" | undefined;
  /**
   * What a ref is that leads to nothing, to a missing object or to a damaged one: a problem when left out. What the given roots need
   * is a problem always.
   */
  readonly brokenRefs?: "problem" | "skip" | undefined;
}

/**
 * Walks from all roots. Goes on after problems, to report all of them.
 *
 * @throws ComposefsError `not-found` for a given root that does not exist
 */
export async function reach(inventory: Inventory, reader: ReferenceReader, options: ReachOptions = {}): Promise<Reach> {
  const { roots: given = [], unknownRoots, brokenRefs } = options;
  const walk = new Walk(inventory, reader, brokenRefs === "skip");
  walk.checkEntries();
  if (unknownRoots !== "ignore") checkGivenRoots(inventory, given);
  const fromGiven = {
    images: namedEntries(inventory.images, given),
    streams: namedEntries(inventory.streams, given),
  };
  await walk.images(fromGiven.images, "given");
  await walk.streams(fromGiven.streams, "given");
  const fromRefs = {
    images: walk.refTargets("images", inventory.images),
    streams: walk.refTargets("streams", inventory.streams),
  };
  await walk.images(fromRefs.images, "ref");
  await walk.streams(fromRefs.streams, "ref");
  const names = (category: "images" | "streams") => [
    ...new Set([...fromRefs[category], ...fromGiven[category]].map(({ name }) => name)),
  ];
  return {
    live: walk.live,
    problems: walk.problems,
    skipped: walk.skipped,
    roots: { images: names("images"), streams: names("streams") },
  };
}

function namedEntries({ entries }: CategoryInventory, names: readonly string[]): Entry[] {
  const wanted = new Set(names);
  return entries.filter(({ name }) => wanted.has(name));
}

// A typing error here would delete what was to be kept.
function checkGivenRoots({ streams, images }: Inventory, roots: readonly string[]): void {
  for (const root of roots) {
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

/** Whether something is walked because the caller wants it, or because a ref leads there. */
type Cause = "given" | "ref";

class Walk {
  readonly live: ObjectMarks;
  readonly problems: WalkProblem[] = [];
  readonly skipped: WalkProblem[] = [];
  readonly #inventory: Inventory;
  readonly #reader: ReferenceReader;
  readonly #skipsBrokenRefs: boolean;
  readonly #walkedImages = new Set<Entry>();
  readonly #seenStreams = new Set<ObjectId>();
  // The first name of an object, for messages.
  readonly #streamNames = new Map<ObjectId, string>();

  constructor(inventory: Inventory, reader: ReferenceReader, skipsBrokenRefs: boolean) {
    this.live = new ObjectMarks(inventory.objects);
    this.#inventory = inventory;
    this.#reader = reader;
    this.#skipsBrokenRefs = skipsBrokenRefs;
    for (const { name, object } of inventory.streams.entries)
      if (object !== undefined && !this.#streamNames.has(object)) this.#streamNames.set(object, `streams/${name}`);
  }

  /** Everything odd at the first level is a problem. */
  checkEntries(): void {
    for (const category of ["images", "streams"] as const)
      for (const { name, target, object } of this.#inventory[category].entries) {
        if (target === undefined) this.#problem(`${category}/${name}`, "is not a symbolic link");
        else if (object === undefined) this.#problem(`${category}/${name}`, `leads to no object: ${target}`);
      }
  }

  /** The entries that refs name, each once. */
  refTargets(category: "streams" | "images", { entries, refs }: CategoryInventory): Entry[] {
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    const found = new Set<Entry>();
    for (const ref of refs) {
      const path = `${category}/refs/${ref.name}`;
      const entry = ref.entry === undefined ? undefined : byName.get(ref.entry);
      if (ref.target === undefined) this.#problem(path, "is neither a directory nor a symbolic link");
      else if (entry !== undefined) found.add(entry);
      else if (this.#skipsBrokenRefs) this.skipped.push({ path, message: `names what is not there: ${ref.target}` });
      else this.#problem(path, `names what is not there: ${ref.target}`);
    }
    return [...found];
  }

  async images(entries: readonly Entry[], why: Cause): Promise<void> {
    for (const entry of entries) {
      const { name, object } = entry;
      if (object === undefined || this.#walkedImages.has(entry)) continue;
      this.#walkedImages.add(entry);
      this.live.add(object);
      try {
        await this.#reader.image(object, (lines) => this.live.addLines(lines));
      } catch (error) {
        this.#failed(`images/${name}`, error, why);
      }
    }
  }

  async streams(roots: readonly Entry[], why: Cause): Promise<void> {
    const pending: { id: ObjectId; path: string }[] = [];
    const enter = (id: ObjectId, path: string) => {
      if (!this.#seenStreams.has(id)) pending.push({ id, path });
      this.#seenStreams.add(id);
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
          const name = this.#streamNames.get(object);
          // Named streams, and those whose name was given to another one meanwhile. The rest are images.
          if (name !== undefined) enter(object, name);
          else if (this.#inventory.objects.has(object) && this.#reader.looksLikeStream(object))
            enter(object, `${path}: ${ref}`);
        }
      } catch (error) {
        this.#failed(path, error, why);
      }
    }
  }

  // What is damaged for certain can be passed over. What merely cannot be read or understood here may be whole.
  #failed(path: string, error: unknown, why: Cause): void {
    const isBroken = error instanceof ComposefsError && (error.code === "not-found" || error.code === "corrupt");
    if (why === "ref" && this.#skipsBrokenRefs && isBroken) this.skipped.push({ path, message: error.message });
    else this.#problem(path, error);
  }

  #problem(path: string, cause: unknown): void {
    this.problems.push({ path, message: cause instanceof Error ? cause.message : String(cause) });
  }
}
