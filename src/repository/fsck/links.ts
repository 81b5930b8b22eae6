// Checks the links of a category: entries and refs (docs/spec/repository.md, sections 1.1 and 10).

import { lstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { type ObjectId, objectPath } from "../../bytes/algorithm.ts";
import type { CategoryInventory, Entry, Inventory } from "../gc/inventory.ts";
import { targetPath } from "../links.ts";
import type { Category } from "../names.ts";
import type { Findings } from "./finding.ts";

/** An entry whose object is there. */
export interface GoodEntry {
  name: string;
  path: string;
  id: ObjectId;
}

/** Checks the first-level entries; the good ones can be looked into. */
export function checkEntries(root: string, category: Category, inventory: Inventory, findings: Findings): GoodEntry[] {
  const { counters } = findings;
  const corrupted = category === "streams" ? "streams_corrupted" : "images_corrupted";
  const checked = category === "streams" ? "streams_checked" : "images_checked";
  const good: GoodEntry[] = [];
  for (const entry of inventory[category].entries) {
    const path = `${category}/${entry.name}`;
    counters[checked]++;
    if (entry.target === undefined) {
      findings.error("entry-not-symlink", path);
      counters[corrupted]++;
      continue;
    }
    if (leadsToObject(path, entry) && inventory.objects.has(entry.object)) {
      good.push({ name: entry.name, path, id: entry.object });
      continue;
    }
    const end = follow(join(root, path));
    if (end === "missing") {
      findings.error("broken-symlink", path);
      counters.broken_links++;
      counters[corrupted]++;
    } else if (end === "there") {
      const kind = category === "streams" ? "stream-open-failed" : "image-open-failed";
      findings.error(kind, path, { detail: `leads to no object of the repository: ${entry.target}` });
      counters[corrupted]++;
    } else {
      findings.error("stat-failed", path, { detail: end });
    }
  }
  return good;
}

/** Checks the refs. */
export function checkRefs(root: string, category: Category, { refs }: CategoryInventory, findings: Findings): void {
  for (const ref of refs) {
    const path = `${category}/refs/${ref.name}`;
    if (ref.target === undefined) {
      findings.error("unexpected-file-type", path, { detail: "neither a directory nor a symbolic link" });
      continue;
    }
    const end = follow(join(root, path));
    if (end === "missing") {
      // An untag by somebody else since the refs were listed takes no more than the shared lock, as this does.
      if (lstatSync(join(root, path), { throwIfNoEntry: false }) === undefined) continue;
      findings.error("broken-symlink", path);
      findings.counters.broken_links++;
    } else if (end !== "there") {
      findings.error("stat-failed", path, { detail: end });
    } else if (!ref.straight) {
      findings.error("ref-misdirected", path, { detail: `leads out of ${category}/: ${ref.target}` });
      findings.counters.broken_links++;
    }
  }
}

function leadsToObject(path: string, entry: Entry): entry is Entry & { object: ObjectId } {
  if (entry.object === undefined || entry.target === undefined) return false;
  return targetPath(path, entry.target) === `objects/${objectPath(entry.object)}`;
}

// Only whether something is there: nothing is opened, so nothing outside the repository is read.
function follow(path: string): "there" | "missing" | `errno ${string}` {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined ? "missing" : "there";
  } catch (error) {
    const { code } = error as { code?: string };
    return code === "ENOTDIR" ? "missing" : `errno ${code ?? String(error)}`;
  }
}
