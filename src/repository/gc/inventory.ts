// What lies in a repository, by name alone: no object is opened (docs/spec/repository.md, section 1). The plain data that
// garbage collection and fsck decide from.

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Algorithm, DIGEST_SIZE, isObjectId, type ObjectId, objectPath } from "../../bytes/algorithm.ts";
import { systemError } from "../../error.ts";
import { listLinks, objectOfTarget, TEMPORARY_LINK, targetPath, walkLinks } from "../links.ts";
import { META_FILE } from "../meta.ts";
import type { Category } from "../names.ts";
import { TEMPORARY_OBJECT } from "../object-store.ts";
import { ObjectSet } from "./object-set.ts";

/** A first-level entry of `streams/` or `images/`. */
export interface Entry {
  /** The content id or image id. */
  name: string;
  /** Target of the link; undefined when it is none. */
  target: string | undefined;
  /** The object that the target ends in, if it does in one. Whether that exists is not looked at. */
  object: ObjectId | undefined;
}

/** Something below `streams/refs/` or `images/refs/` that is no directory. */
export interface RefEntry {
  /** Path below `refs/`. */
  name: string;
  /** Target of the link; undefined when it is none. */
  target: string | undefined;
  /** Last component of the target: the first-level entry that the ref keeps. */
  entry: string | undefined;
  /** Whether the target, taken as a path, is that entry; a ref that is not cannot be opened. */
  straight: boolean;
}

/** The names of one category. */
export interface CategoryInventory {
  entries: Entry[];
  refs: RefEntry[];
}

/** Everything in a repository. All lists are sorted. */
export interface Inventory {
  algorithm: Algorithm;
  streams: CategoryInventory;
  images: CategoryInventory;
  /** Names below `objects/` of the right length. Those that are no ids are never asked for; see {@link takeMisnamed}. */
  objects: ObjectSet;
  /** Paths below `objects/` that are neither objects nor ours: they are left alone. */
  foreign: string[];
  /** Temporary files and links of writers: in use, or left by a crash. */
  temporaries: string[];
  /** Entries of the root that do not belong to a repository. */
  strays: string[];
}

/** First characters of the temporary file that becomes meta.json. */
export const TEMPORARY_META = ".tmp-meta-";

const ROOT_ENTRIES = new Set([META_FILE, "objects", "streams", "images"]);

/**
 * Lists a repository. Others may write meanwhile, objects before entries and entries before refs; listed the other way
 * round, whatever is found leads to something that is found as well.
 */
export function takeInventory(root: string, algorithm: Algorithm): Inventory {
  const inventory: Inventory = {
    algorithm,
    streams: listCategory(root, "streams", algorithm),
    images: listCategory(root, "images", algorithm),
    objects: new ObjectSet(algorithm),
    foreign: [],
    temporaries: [],
    strays: [],
  };
  for (const name of list(root, ".")) {
    if (name.startsWith(TEMPORARY_LINK) || name.startsWith(TEMPORARY_META)) inventory.temporaries.push(name);
    else if (!ROOT_ENTRIES.has(name)) inventory.strays.push(name);
  }
  listObjects(root, inventory);
  return inventory;
}

/** Moves names of the right length that hold other characters than digits from the objects to what is foreign. */
export function takeMisnamed(inventory: Inventory): void {
  const misnamed: string[] = [...inventory.objects].filter((id) => !isObjectId(id, inventory.algorithm));
  if (misnamed.length === 0) return;
  const others = new Set(misnamed);
  inventory.objects = ObjectSet.of(
    inventory.algorithm,
    [...inventory.objects].filter((id) => !others.has(id)),
  );
  inventory.foreign = [...inventory.foreign, ...misnamed.map((id) => `objects/${objectPath(id)}`)].toSorted();
}

function listCategory(root: string, category: Category, algorithm: Algorithm): CategoryInventory {
  const refs = walkLinks(root, `${category}/refs`).map(({ name, target }) => {
    const entry = target === undefined ? undefined : target.slice(target.lastIndexOf("/") + 1);
    const straight = target !== undefined && targetPath(`${category}/refs/${name}`, target) === `${category}/${entry}`;
    return { name, target, entry, straight };
  });
  const entries = listLinks(root, category, "refs").map(({ name, target }) => ({
    name,
    target,
    object: target === undefined ? undefined : objectOfTarget(target, algorithm),
  }));
  return { entries, refs };
}

function listObjects(root: string, inventory: Inventory): void {
  const length = 2 * DIGEST_SIZE[inventory.algorithm] - 2;
  for (const directory of list(root, "objects")) {
    if (!/^[0-9a-f]{2}$/.test(directory)) {
      if (directory.startsWith(TEMPORARY_OBJECT)) inventory.temporaries.push(`objects/${directory}`);
      else inventory.foreign.push(`objects/${directory}`);
      continue;
    }
    const names = list(root, `objects/${directory}`);
    // No look at each digit, which would cost as much as listing: see `takeMisnamed`.
    const isName = (name: string): boolean => name.length === length && Buffer.byteLength(name) === length;
    if (names.every((name) => name.length === length) && Buffer.byteLength(names.join("")) === length * names.length) {
      inventory.objects.addDirectory(directory, names);
      continue;
    }
    inventory.objects.addDirectory(directory, names.filter(isName));
    for (const name of names) if (!isName(name)) inventory.foreign.push(`objects/${directory}/${name}`);
  }
}

function list(root: string, directory: string): string[] {
  const path = join(root, directory);
  try {
    // A link in the place of a directory leads elsewhere: what is there is not this repository's.
    if (directory !== "." && !lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return [];
    return readdirSync(path).toSorted();
  } catch (error) {
    throw systemError(error, `listing ${path}`, path);
  }
}
