// Beginning a repository anew over its objects: `init --reset-metadata` (docs/spec/repository.md, section 4).

import { closeSync, constants, lstatSync, openSync, readdirSync, readFileSync, rmdirSync, unlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Algorithm, DIGEST_SIZE } from "../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../error.ts";
import { type LockWait, syscalls } from "../runtime/syscalls.ts";
import { type InitOptions, type InitResult, initRepository, replaceMeta, testVerity } from "./init.ts";
import { walkLinks } from "./links.ts";
import { type Meta, META_FILE, newMeta, parseMeta } from "./meta.ts";
import { inferAlgorithm } from "./open-directory.ts";
import { openHandles } from "./repository.ts";

/** What a reset removes, and what it leaves although it does not know it. */
export interface ResetPlan {
  /** Absolute path of the repository. */
  path: string;
  /** The configuration that goes; undefined when there is none, or none that can be read. */
  before: Meta | undefined;
  after: Meta;
  /** Names of streams, then of the refs to them as `refs/NAME`, without the category. */
  streams: string[];
  /** Names of images and of refs, likewise. */
  images: string[];
  /** Objects that the new algorithm cannot name, relative to the repository. */
  objects: string[];
  /** What is neither a link nor a directory below `streams/` and `images/`; it stays. */
  foreign: string[];
}

/** Options of {@link resetMetadata}. `algorithm` left out is that of the repository, or of its objects. */
export interface ResetOptions extends Omit<InitOptions, "ensure"> {
  /** How long to wait for other users of the repository to end. */
  lock?: LockWait;
  /** Asked with the plan, while nobody else has the repository open; nothing is changed unless it answers true. */
  confirm?: (plan: ResetPlan) => boolean | Promise<boolean>;
}

/** What {@link resetMetadata} did. */
export interface ResetResult extends Omit<InitResult, "state"> {
  /** `created`: there was no repository. `declined`: `confirm` did not agree; then the rest says what would have been. */
  state: "created" | "reset" | "declined";
  plan: ResetPlan | undefined;
}

/**
 * Forgets all streams, images and names of a repository, and its configuration; objects stay as far as the new algorithm
 * can name them. Makes a repository where there is none. A crash in the middle leaves a repository, and what is left of
 * its names; doing it again completes it.
 *
 * @throws ComposefsError `not-a-repository` when the directory has `streams` or `images` but is none, `locked`,
 * `unsupported` when the file system has no fs-verity and `insecure` was not given
 * @example
 * ```ts
 * await resetMetadata("/srv/images", { confirm: ({ images }) => images.length === 0 });
 * ```
 */
export async function resetMetadata(path: string, options: ResetOptions = {}): Promise<ResetResult> {
  const { lock, confirm, ...wanted } = options;
  const root = resolve(path);
  const fd = openIfThere(root);
  if (fd === undefined) return created(await initRepository(root, wanted));
  try {
    if (!isRepository(root)) return created(await initRepository(root, wanted));
    if (openHandles(fd) > 0)
      throw new ComposefsError("locked", `this process has the repository ${root} open`, {
        path: root,
        hint: "close its handles first",
      });
    await syscalls().flock(fd, "exclusive", lock);
    const plan = planReset(root, wanted);
    const secure = wanted.insecure !== true;
    if (secure) testVerity(root, plan.after.algorithm);
    const result = { path: root, algorithm: plan.after.algorithm, secure, meta: plan.after, plan };
    if (confirm !== undefined && !(await confirm(plan))) return { ...result, state: "declined" };
    execute(plan, fd, secure);
    return { ...result, state: "reset" };
  } finally {
    closeSync(fd);
  }
}

/** What a reset would do; nothing is changed. Only what the exclusive lock protects stays true. */
export function planReset(root: string, options: Pick<InitOptions, "algorithm" | "erofsVersion"> = {}): ResetPlan {
  const before = readMeta(root);
  const algorithm = options.algorithm ?? before?.algorithm ?? inferAlgorithm(root)?.algorithm ?? "sha512";
  const plan: ResetPlan = {
    path: root,
    before,
    after: newMeta(algorithm, options.erofsVersion ?? 1),
    streams: [],
    images: [],
    objects: foreignObjects(root, algorithm),
    foreign: [],
  };
  for (const category of ["streams", "images"] as const) {
    for (const { name, target } of walkLinks(root, category)) {
      if (target === undefined) plan.foreign.push(`${category}/${name}`);
      else plan[category].push(name);
    }
  }
  return plan;
}

// Names before what they lead to, and meta.json last: at every moment this is a repository.
function execute({ path: root, after, streams, images, objects }: ResetPlan, fd: number, secure: boolean): void {
  const isRef = (name: string) => name.startsWith("refs/");
  for (const [category, names] of [
    ["streams", streams],
    ["images", images],
  ] as const)
    for (const name of [...names.filter(isRef), ...names.filter((each) => !isRef(each))])
      remove(root, `${category}/${name}`);
  if (streams.length + images.length > 0) syscalls().syncfs(fd, root);
  for (const object of objects) remove(root, object);
  replaceMeta(root, after, secure);
  removeDirectories(join(root, "streams"));
  removeDirectories(join(root, "images"));
  syscalls().syncfs(fd, root);
}

function created(result: InitResult): ResetResult {
  return { ...result, state: "created", plan: undefined };
}

// A directory `images` alone is anybody's: meta.json or objects say that it is ours.
function isRepository(root: string): boolean {
  if (lstatSync(join(root, META_FILE), { throwIfNoEntry: false }) !== undefined) return true;
  if (inferAlgorithm(root) !== undefined) return true;
  const taken = ["streams", "images"].find(
    (name) => lstatSync(join(root, name), { throwIfNoEntry: false }) !== undefined,
  );
  if (taken === undefined) return false;
  throw new ComposefsError("not-a-repository", `${root} is not a composefs repository, but has ${taken}`, {
    path: root,
    hint: "it is left as it is; choose another directory, or remove that first",
  });
}

function readMeta(root: string): Meta | undefined {
  try {
    return parseMeta(readFileSync(join(root, META_FILE)), join(root, META_FILE));
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT" || error instanceof ComposefsError) return undefined;
    throw systemError(error, `reading ${join(root, META_FILE)}`, join(root, META_FILE));
  }
}

// Objects of the other algorithm: with them in place `cfsctl gc` fails for ever.
function foreignObjects(root: string, algorithm: Algorithm): string[] {
  const found: string[] = [];
  const length = 2 * DIGEST_SIZE[algorithm === "sha256" ? "sha512" : "sha256"] - 2;
  for (const directory of list(join(root, "objects"))) {
    if (!/^[0-9a-f]{2}$/.test(directory)) continue;
    for (const name of list(join(root, "objects", directory)))
      if (name.length === length && /^[0-9a-f]+$/.test(name)) found.push(`objects/${directory}/${name}`);
  }
  return found;
}

function openIfThere(root: string): number | undefined {
  try {
    return openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return undefined;
    throw systemError(error, `opening ${root}`, root);
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path).toSorted();
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw systemError(error, `listing ${path}`, path);
  }
}

function remove(root: string, path: string): void {
  try {
    unlinkSync(join(root, path));
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw systemError(error, `removing ${path}`, join(root, path));
  }
}

// What is not empty stays.
function removeDirectories(directory: string): void {
  let entries;
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) if (entry.isDirectory()) removeDirectories(join(directory, entry.name));
  try {
    rmdirSync(directory);
  } catch {
    // Something foreign is in it.
  }
}
