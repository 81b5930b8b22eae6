// What lies in a repository, by name alone: no object is opened (docs/spec/repository.md, section 1). The plain data that
// garbage collection and fsck decide from.

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";
import { systemError } from "../../error.ts";
import { listNames } from "../../runtime/list-names.ts";
import { listLinks, objectOfTarget, TEMPORARY_LINK, targetPath, walkLinks } from "../links.ts";
import { META_FILE } from "../meta.ts";
import type { Category } from "../names.ts";
import { TEMPORARY_OBJECT } from "../temporary-objects.ts";
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
  /** What is below `objects/` under the name of an object. */
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

// In that of a sysroot bootc has its own directory (docs/spec/deployments.md, section 2.1).
const ROOT_ENTRIES = new Set([META_FILE, "objects", "streams", "images", "bootc"]);

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
  const size = DIGEST_SIZE[inventory.algorithm];
  let digests = Buffer.alloc(1 << 16);
  let end = 0;
  for (const directory of list(root, "objects")) {
    if (!/^[0-9a-f]{2}$/.test(directory)) {
      if (directory.startsWith(TEMPORARY_OBJECT)) inventory.temporaries.push(`objects/${directory}`);
      else inventory.foreign.push(`objects/${directory}`);
      continue;
    }
    const { names, others } = listDirectory(root, directory, 2 * size - 2);
    for (const name of others) inventory.foreign.push(`objects/${directory}/${name}`);
    if (end + names.length / 2 > digests.length) {
      const larger = Buffer.alloc(2 * (digests.length + names.length));
      larger.set(digests);
      digests = larger;
    }
    end += digests.write(names, end, "hex");
  }
  inventory.objects = new ObjectSet(inventory.algorithm, digests.subarray(0, end));
  inventory.foreign.sort();
}

/**
 * What is in a directory of `objects/`: the ids in one text, back to back, and the names that are no ids. Work that is done for each
 * name alone would cost more than the system calls.
 */
function listDirectory(root: string, directory: string, length: number): { names: string; others: string[] } {
  const path = join(root, "objects", directory);
  const others: string[] = [];
  const found: string[] = [];
  try {
    listNames(path, (text, start, end) => {
      if (end - start === length) found.push(directory, text.slice(start, end));
      else others.push(Buffer.from(text.slice(start, end), "latin1").toString("utf8"));
    });
  } catch (error) {
    throw systemError(error, `listing ${path}`, path);
  }
  const names = found.join("");
  if (/^[0-9a-f]*$/.test(names)) return { names, others };
  const isName = (name: string) => /^[0-9a-f]+$/.test(name);
  const rest = found.filter((name) => name.length === length);
  for (const name of rest) if (!isName(name)) others.push(Buffer.from(name, "latin1").toString("utf8"));
  return { names: rest.flatMap((name) => (isName(name) ? [directory, name] : [])).join(""), others };
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
