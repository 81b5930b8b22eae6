// All objects by their size: where content is looked for that is known by another digest than its fs-verity one.

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";

import { isObjectId, type ObjectId } from "../bytes/algorithm.ts";
import { throwIfAborted } from "../error.ts";
import type { Repository } from "./repository.ts";

/**
 * Lists objects by size. What cannot be listed or vanishes meanwhile is left out: the list is a help, not an inventory.
 *
 * @param limit most objects that are listed
 */
export async function objectsBySize(
  { path, algorithm }: Pick<Repository, "path" | "algorithm">,
  limit: number,
  signal?: AbortSignal,
): Promise<Map<number, ObjectId[]>> {
  const found = new Map<number, ObjectId[]>();
  let count = 0;
  for (let i = 0; i < 256 && count < limit; i++) {
    // Others get their turn between directories.
    await setImmediate();
    throwIfAborted(signal);
    const prefix = i.toString(16).padStart(2, "0");
    const directory = join(path, "objects", prefix);
    for (const name of namesIn(directory)) {
      const id = `${prefix}${name}`;
      if (count >= limit) break;
      if (!isObjectId(id, algorithm)) continue;
      const info = lstatSync(join(directory, name), { throwIfNoEntry: false });
      if (info?.isFile() !== true) continue;
      count++;
      const same = found.get(info.size);
      if (same === undefined) found.set(info.size, [id]);
      else same.push(id);
    }
  }
  return found;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
