// What repair does about findings: a pure function from a report to actions (docs/spec/repository.md, section 10).

import { type ObjectId, objectPath } from "../../bytes/algorithm.ts";
import type { Inventory } from "../gc/inventory.ts";
import type { Category } from "../names.ts";
import type { Finding, FindingKind, FsckReport } from "./finding.ts";

/**
 * One step of a repair.
 *
 * - `relink`: an entry or ref is pointed at what it should be.
 * - `enable-verity`: the content is right, only fs-verity is missing.
 * - `drop-ref`, `drop-link`, `drop-object`: what is of no use any more is removed, so that a pull writes it again.
 */
export interface RepairAction {
  action: "relink" | "enable-verity" | "drop-ref" | "drop-link" | "drop-object";
  /** Path in the repository. */
  path: string;
  /** Where a link is to lead: a path in the repository. */
  target?: string;
  /** The finding behind it, for people. */
  reason: string;
}

/** What is to be done, in the order in which it is done. */
export interface RepairPlan {
  actions: RepairAction[];
  /** Errors that no action is for: what a pull restores, and what is not the repository's. */
  left: Finding[];
}

// Findings whose object is dropped.
const BAD_OBJECT: ReadonlySet<FindingKind> = new Set<FindingKind>([
  "object-digest-mismatch",
  "object-verity-failed",
  "object-open-failed",
]);
// Findings that make an entry useless as it is.
const BAD_ENTRY: ReadonlySet<FindingKind> = new Set<FindingKind>([
  "broken-symlink",
  "stat-failed",
  "stream-open-failed",
  "stream-body-invalid",
  "stream-size-mismatch",
  "stream-misnamed",
  "image-open-failed",
  "image-invalid",
  "image-misnamed",
]);
// Those of them where the entry's object itself is wrong although its digest is right.
const BAD_CONTENT: ReadonlySet<FindingKind> = new Set<FindingKind>(["stream-body-invalid", "stream-size-mismatch"]);

/** What a repair knows besides the report. */
export interface RepairKnowledge {
  inventory: Inventory;
  /** The object that an entry should lead to, by its path; undefined when nothing tells. Must exist and be whole. */
  derive: (path: string) => ObjectId | undefined;
  /** Whether an object file may be removed: it is no directory, and this process may. */
  removable: (path: string) => boolean;
  /** Whether the content of an object without fs-verity is right. */
  intact: (id: ObjectId) => boolean;
}

/** Decides. */
export function planRepair(report: FsckReport, knowledge: RepairKnowledge): RepairPlan {
  return new Planner(report, knowledge).run();
}

class Planner {
  readonly #report: FsckReport;
  readonly #knowledge: RepairKnowledge;
  readonly #gone = new Set<ObjectId>();
  readonly #steps: Record<RepairAction["action"], RepairAction[]> = {
    relink: [],
    "enable-verity": [],
    "drop-ref": [],
    "drop-link": [],
    "drop-object": [],
  };
  readonly #left: Finding[] = [];

  constructor(report: FsckReport, knowledge: RepairKnowledge) {
    this.#report = report;
    this.#knowledge = knowledge;
  }

  run(): RepairPlan {
    const errors = this.#report.findings.filter(({ severity }) => severity === "error");
    for (const finding of errors) this.#object(finding);
    for (const category of ["streams", "images"] as const) this.#category(category, errors);
    for (const finding of errors) if (!this.#handled(finding)) this.#left.push(finding);
    // Names are right before what they name goes: at whatever point this is cut, nothing new dangles.
    return { actions: Object.values(this.#steps).flat(), left: this.#left };
  }

  #object(finding: Finding): void {
    const { kind, path, id } = finding;
    if (id === undefined) return;
    if (kind === "object-verity-missing" && this.#knowledge.intact(id)) {
      this.#step("enable-verity", path, finding);
    } else if (BAD_OBJECT.has(kind) || kind === "object-verity-missing") {
      if (!this.#knowledge.removable(path)) return;
      this.#gone.add(id);
      this.#step("drop-object", path, finding);
    }
  }

  #category(category: Category, errors: readonly Finding[]): void {
    const { inventory, derive, removable } = this.#knowledge;
    const byPath = new Map<string, Finding>();
    for (const finding of errors) if (BAD_ENTRY.has(finding.kind)) byPath.set(finding.path, finding);
    const kept = new Set<string>();
    for (const { name, target, object } of inventory[category].entries) {
      const path = `${category}/${name}`;
      const finding = byPath.get(path);
      const lost = object !== undefined && this.#gone.has(object);
      if (target === undefined || (finding === undefined && !lost)) {
        kept.add(name);
        continue;
      }
      if (finding && object !== undefined && BAD_CONTENT.has(finding.kind) && !lost) {
        const file = `objects/${objectPath(object)}`;
        if (inventory.objects.has(object) && removable(file)) {
          this.#gone.add(object);
          this.#step("drop-object", file, finding);
        }
      }
      const right = derive(path);
      const reason = finding ?? { kind: "broken-symlink", path, detail: "its object is damaged" };
      if (right !== undefined && right !== object && !this.#gone.has(right)) {
        this.#step("relink", path, reason, `objects/${objectPath(right)}`);
        kept.add(name);
      } else {
        this.#step("drop-link", path, reason);
      }
    }
    for (const { name, entry, target, straight } of inventory[category].refs) {
      const path = `${category}/refs/${name}`;
      if (target === undefined || entry === undefined) continue;
      const reason: Pick<Finding, "kind" | "detail"> = { kind: "broken-symlink", detail: `names ${entry}` };
      if (kept.has(entry)) {
        if (!straight) this.#step("relink", path, reason, `${category}/${entry}`);
        continue;
      }
      // The entry is lost, or was never there. Perhaps its object still is.
      const right =
        entry === "" || entry === "refs" || entry === ".." || entry === "."
          ? undefined
          : derive(`${category}/${entry}`);
      if (right !== undefined && !this.#gone.has(right)) {
        this.#step("relink", `${category}/${entry}`, reason, `objects/${objectPath(right)}`);
        kept.add(entry);
        if (!straight) this.#step("relink", path, reason, `${category}/${entry}`);
      } else {
        this.#step("drop-ref", path, reason);
      }
    }
  }

  #step(
    action: RepairAction["action"],
    path: string,
    { kind, detail }: Pick<Finding, "kind" | "detail">,
    target?: string,
  ): void {
    this.#steps[action].push({
      action,
      path,
      ...(target === undefined ? {} : { target }),
      reason: detail === undefined ? kind : `${kind}: ${detail}`,
    });
  }

  #handled(finding: Finding): boolean {
    return Object.values(this.#steps).some((steps) => steps.some(({ path }) => path === finding.path));
  }
}
