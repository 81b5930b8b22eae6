// What a power failure leaves: the changes that a barrier has made durable, and some of those after it. Rebuilt from the recorded
// calls of a run, on a copy of what it started from.
//
// The model: syncfs makes everything before it durable, fsync of a file its content, fsync of a directory its entries. Of
// the rest the storage may have kept
//   - `ordered`: the changes up to some moment, none after it (a journal), but no contents;
//   - `directories`: of each directory the changes up to some moment of its own;
//   - `any`: each change or not, by chance.
// The content of a file that was not synced is lost whole, in part, or replaced by zeros.

import { cpSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmdirSync } from "node:fs";
import { lstatSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { RecordedCall } from "./strace.ts";

/** Which of the changes that are not durable survive. */
export type Loss = "nothing" | "ordered" | "directories" | "any";

type Change =
  | { kind: "create"; path: string; file: number }
  | { kind: "write"; file: number }
  | { kind: "mkdir" | "rmdir" | "unlink"; path: string }
  | { kind: "symlink"; path: string; target: string }
  | { kind: "link" | "rename"; from: string; path: string };

type Step = { kind: "change"; change: Change } | { kind: "syncfs" } | { kind: "fsync"; path: string };

/** A recorded run as changes and barriers; made by {@link changesOf}. */
export interface History {
  steps: Step[];
  /** Contents that files had in the end, by number. Those of files that the run removed again are not known. */
  contents: Map<number, Buffer>;
}

const strings = (args: string) => [...args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
const descriptorPath = (text: string) => /^\d+<([^>]*)>/.exec(text)?.[1] ?? "";

/** Reads the recorded calls of a run that has left its result in place. */
export function changesOf(calls: readonly RecordedCall[]): History {
  const steps: Step[] = [];
  const add = (change: Change) => steps.push({ kind: "change", change });
  // Which file has a name now.
  const files = new Map<string, number>();
  let count = 0;
  for (const { name, args, result } of calls) {
    if (result.startsWith("-1")) continue;
    const [first = "", second = ""] = strings(args);
    switch (name) {
      case "openat":
      case "open":
        if (!args.includes("O_CREAT") || files.has(first)) break;
        files.set(first, count);
        add({ kind: "create", path: first, file: count++ });
        break;
      case "write":
      case "writev":
      case "pwrite64":
      case "pwritev": {
        const file = files.get(descriptorPath(args));
        if (file === undefined) throw new Error(`a file that the run did not make is written: ${args}`);
        add({ kind: "write", file });
        break;
      }
      case "rename":
      case "renameat":
      case "renameat2":
      case "link":
      case "linkat": {
        const file = files.get(first);
        if (file !== undefined) files.set(second, file);
        if (name.startsWith("rename")) {
          files.delete(first);
          add({ kind: "rename", from: first, path: second });
        } else {
          add({ kind: "link", from: first, path: second });
        }
        break;
      }
      case "symlink":
      case "symlinkat":
        add({ kind: "symlink", target: first, path: second });
        break;
      case "unlink":
      case "unlinkat": {
        // Relative to an open directory, or whole.
        const path = resolve(descriptorPath(args), first);
        files.delete(path);
        add({ kind: args.includes("AT_REMOVEDIR") ? "rmdir" : "unlink", path });
        break;
      }
      case "mkdir":
      case "mkdirat":
        add({ kind: "mkdir", path: first });
        break;
      case "rmdir":
        add({ kind: "rmdir", path: first });
        break;
      case "syncfs":
        steps.push({ kind: "syncfs" });
        break;
      case "fsync":
      case "fdatasync":
        steps.push({ kind: "fsync", path: descriptorPath(args) });
        break;
      case "ioctl":
        break;
      default:
        throw new Error(`${name}(${args}) is not modelled`);
    }
  }
  const contents = new Map<number, Buffer>();
  for (const [path, file] of files) if (lstatSync(path).isFile()) contents.set(file, readFileSync(path));
  return { steps, contents };
}

/** How many steps a history has: it can be cut after each. */
export function stepCount({ steps }: History): number {
  return steps.length;
}

interface Pending {
  change: Change;
  durable: boolean;
}

/**
 * Makes `target` what is left of a run when the power fails after `cut` steps.
 *
 * @param places `origin`: folder that the run started from; `recorded`: the folder while it was recorded
 */
export function loseWrites(
  history: History,
  places: { origin: string; recorded: string; target: string },
  cut: number,
  loss: Loss,
  random: () => number,
): void {
  const { origin, recorded, target } = places;
  cpSync(origin, target, { recursive: true, verbatimSymlinks: true });
  const here = (path: string) => target + path.slice(recorded.length);
  const { changes, synced } = durability(history.steps.slice(0, cut));
  const survives = survivors(changes, loss, random);
  const made = new Map<string, number>();
  const written = new Set<number>();
  for (const [index, { change }] of changes.entries()) {
    if (!survives[index]) continue;
    if (change.kind === "write") written.add(change.file);
    else applyChange(change, here, made);
  }
  for (const [path, file] of made) {
    if (!existsSync(path)) continue;
    const content = history.contents.get(file) ?? Buffer.alloc(0);
    writeFileSync(path, content);
    if (!synced.has(file)) damage(path, content.length, written.has(file) ? random : () => 0);
  }
}

// Which changes are durable, and which files have their whole content on disk.
function durability(steps: readonly Step[]): { changes: Pending[]; synced: Set<number> } {
  const changes: Pending[] = [];
  const synced = new Set<number>();
  const names = new Map<string, number>();
  const open = new Set<number>();
  for (const step of steps) {
    if (step.kind === "change") {
      const { change } = step;
      changes.push({ change, durable: false });
      if (change.kind === "create") names.set(change.path, change.file);
      if (change.kind === "write" || change.kind === "create") {
        open.add(change.file);
        synced.delete(change.file);
      }
      if (change.kind === "link" || change.kind === "rename") {
        const file = names.get(change.from);
        if (file !== undefined) names.set(change.path, file);
      }
    } else if (step.kind === "syncfs") {
      for (const pending of changes) pending.durable = true;
      for (const file of open) synced.add(file);
    } else {
      const file = names.get(step.path);
      if (file !== undefined) synced.add(file);
      for (const pending of changes) {
        const { change } = pending;
        if (change.kind === "write" ? change.file === file : dirname(change.path) === step.path) pending.durable = true;
      }
    }
  }
  return { changes, synced };
}

function survivors(changes: readonly Pending[], loss: Loss, random: () => number): boolean[] {
  const moment = Math.floor(random() * (changes.length + 1));
  const moments = new Map<string, number>();
  return changes.map(({ change, durable }, index) => {
    if (durable) return true;
    if (loss === "nothing") return false;
    if (loss === "ordered") return index < moment;
    if (loss === "any" || change.kind === "write") return random() < 0.5;
    const directory = dirname(change.path);
    if (!moments.has(directory)) moments.set(directory, Math.floor(random() * (changes.length + 1)));
    return index < (moments.get(directory) ?? 0);
  });
}

// A change whose conditions were lost is lost, too: a name in a directory that does not exist.
function applyChange(
  change: Exclude<Change, { kind: "write" }>,
  here: (path: string) => string,
  made: Map<string, number>,
): void {
  const path = here(change.path);
  if (!existsSync(dirname(path))) return;
  const present = lstatSync(path, { throwIfNoEntry: false });
  switch (change.kind) {
    case "create":
      writeFileSync(path, "");
      made.set(path, change.file);
      break;
    case "mkdir":
      if (!present) mkdirSync(path);
      break;
    case "rmdir":
      // A directory goes with what was lost in it still there: the storage would not have done so.
      try {
        if (present) rmdirSync(path);
      } catch {
        // Not empty.
      }
      break;
    case "unlink":
      if (present) unlinkSync(path);
      made.delete(path);
      break;
    case "symlink":
      if (!present) symlinkSync(change.target, path);
      break;
    case "link":
    case "rename": {
      const from = here(change.from);
      if (!lstatSync(from, { throwIfNoEntry: false })) return;
      const file = made.get(from);
      if (file !== undefined) made.set(path, file);
      if (change.kind === "link") {
        if (!present) linkSync(from, path);
      } else {
        renameSync(from, path);
        made.delete(from);
      }
    }
  }
}

function damage(path: string, size: number, random: () => number): void {
  const way = random();
  if (way < 0.4) truncateSync(path, 0);
  else if (way < 0.7) truncateSync(path, Math.floor(random() * size));
  else writeFileSync(path, Buffer.alloc(size));
}
