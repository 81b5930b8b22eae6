// What a collection removes, decided before anything is touched (docs/spec/repository.md, section 9.2).

import { objectPath } from "../../bytes/algorithm.ts";
import type { CategoryInventory, Inventory } from "./inventory.ts";
import type { ObjectMarks, ObjectSet } from "./object-set.ts";
import type { Reach, WalkProblem } from "./reach.ts";

/** A file to be removed. */
export interface Removal {
  /** Path in the repository. */
  path: string;
  /** Apparent size; 0 for links. */
  bytes: number;
}

/** What a collection does, in this order. */
export interface GcPlan {
  /** Why the walk was incomplete. If there is any reason, nothing may be removed. */
  problems: WalkProblem[];
  /** What refs lead to although it is missing or damaged, where that is put up with. */
  skipped: WalkProblem[];
  /** The entries that are kept with all they refer to. */
  roots: { streams: string[]; images: string[] };
  /** Number of objects that stay. */
  kept: number;
  /** Links in `images/` whose object goes or is gone. */
  images: string[];
  /** Links in `streams/` whose object goes or is gone. */
  streams: string[];
  objects: Removal[];
  /** Leftovers of writers that crashed. */
  temporaries: Removal[];
  /** Paths that are not the repository's and stay. */
  foreign: string[];
}

/**
 * Decides what goes.
 *
 * @param size apparent size of a path in the repository; undefined when it is a directory, which is not ours
 */
export function planCollection(
  inventory: Inventory,
  { live, problems, skipped, roots }: Reach,
  size: (path: string) => number | undefined,
): GcPlan {
  const foreign = [...inventory.foreign];
  const removals = (paths: Iterable<string>): Removal[] => {
    const found: Removal[] = [];
    for (const path of paths) {
      const bytes = size(path);
      if (bytes === undefined) foreign.push(path);
      else found.push({ path, bytes });
    }
    return found;
  };
  const dead = [...live.unmarked()].map((id) => `objects/${objectPath(id)}`);
  return {
    problems,
    skipped,
    roots,
    kept: inventory.objects.size - dead.length,
    images: danglingLinks("images", inventory.images, inventory.objects, live),
    streams: danglingLinks("streams", inventory.streams, inventory.objects, live),
    objects: removals(dead),
    temporaries: removals(inventory.temporaries),
    foreign: foreign.toSorted(),
  };
}

/** Sum of the sizes of the objects that go. */
export function objectBytes(plan: GcPlan): number {
  return plan.objects.reduce((sum, { bytes }) => sum + bytes, 0);
}

function danglingLinks(
  category: string,
  { entries }: CategoryInventory,
  objects: ObjectSet,
  live: ObjectMarks,
): string[] {
  return entries
    .filter(({ object }) => object !== undefined && !(live.has(object) && objects.has(object)))
    .map(({ name }) => `${category}/${name}`);
}
