// What a power failure leaves: the changes that a barrier has made durable, and some of those after it. Rebuilt from the recorded
// calls of a run, on a copy of what it started from.
//
// The model: syncfs makes everything before it durable, fsync of a file its content, fsync of a directory its entries. Of
// the rest the storage may have kept
//   - `ordered`: the changes up to some moment, none after it (a journal), but no contents;
//   - `directories`: of each directory the changes up to some moment of its own;
//   - `any`: each change or not, by chance.
// The content of a file that was not synced is lost whole, in part, or replaced by zeros.

import { cpSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync } from "node:fs";
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
  | { kind: "link" | "rename" | "exchange"; from: string; path: string };

type Step = { kind: "change"; change: Change } | { kind: "syncfs" } | { kind: "fsync"; path: string };

/** A recorded run as changes and barriers; made by {@link changesOf}. */
export interface History {
  steps: Step[];
  /** Contents that files had in the end, by number. Those of files that the run removed again are not known. */
  contents: Map<number, Buffer>;
}

// Each text with the directory before it, which it is relative to.
const TEXT = /(?:(?:\d+|AT_FDCWD)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"/g;
const paths = (args: string) =>
  [...args.matchAll(TEXT)].map(([, directory, text = ""]) =>
    directory === undefined ? text : resolve(directory, text),
  );
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
    const [first = "", second = ""] = paths(args);
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
        if (args.includes("RENAME_EXCHANGE")) {
          moveNames(files, first, second, true);
          add({ kind: "exchange", from: first, path: second });
        } else if (name.startsWith("rename")) {
          moveNames(files, first, second);
          add({ kind: "rename", from: first, path: second });
        } else {
          if (file !== undefined) files.set(second, file);
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
        files.delete(first);
        add({ kind: args.includes("AT_REMOVEDIR") ? "rmdir" : "unlink", path: first });
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
      // Modes and times are not modelled.
      case "fchmod":
      case "utimensat":
        break;
      default:
        throw new Error(`${name}(${args}) is not modelled`);
    }
  }
  const contents = new Map<number, Buffer>();
  for (const [path, file] of files) if (lstatSync(path).isFile()) contents.set(file, readFileSync(path));
  return { steps, contents };
}

// Gives a name, and all names below it when it is a directory's, to another one; those that had it are gone, or exchanged.
function moveNames(names: Map<string, number>, from: string, to: string, exchange = false): void {
  const below = (path: string, top: string) => path === top || path.startsWith(`${top}/`);
  const moved: [string, number][] = [];
  for (const [path, file] of names) {
    if (below(path, from)) moved.push([to + path.slice(from.length), file]);
    else if (!below(path, to)) continue;
    else if (exchange) moved.push([from + path.slice(to.length), file]);
    names.delete(path);
  }
  for (const [path, file] of moved) names.set(path, file);
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
      if (change.kind === "link") {
        const file = names.get(change.from);
        if (file !== undefined) names.set(change.path, file);
      }
      if (change.kind === "rename" || change.kind === "exchange")
        moveNames(names, change.from, change.path, change.kind === "exchange");
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
    case "exchange": {
      const from = here(change.from);
      if (!present || !lstatSync(from, { throwIfNoEntry: false })) return;
      renameSync(path, `${path}.exchanged`);
      renameSync(from, path);
      renameSync(`${path}.exchanged`, from);
      moveNames(made, from, path, true);
      break;
    }
    case "link":
    case "rename": {
      const from = here(change.from);
      if (!lstatSync(from, { throwIfNoEntry: false })) return;
      const file = made.get(from);
      if (change.kind === "link") {
        if (file !== undefined) made.set(path, file);
        if (!present) linkSync(from, path);
      } else {
        // A directory takes only the place of an empty one; what should have been removed from it was not.
        if (present?.isDirectory()) rmSync(path, { recursive: true });
        renameSync(from, path);
        moveNames(made, from, path);
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
