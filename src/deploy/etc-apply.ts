// Carries out the merge of `/etc` (docs/spec/deployments.md, section 5) on two directories. Every node is made complete in a directory
// of its own and renamed into its place, so that a run that was cut is finished by another one.

import type { Algorithm } from "../bytes/algorithm.ts";
import { type ByteString, displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import { ComposefsError, systemError, throwIfAborted } from "../error.ts";
import { type EntryMetadata, type MergeCalls, mergeCalls } from "../runtime/merge-calls.ts";
import { type ScanCalls, scanCalls } from "../runtime/scan-calls.ts";
import type { Directory, Leaf, Stat } from "../tree/node.ts";
import { scanDirectory } from "../tree/scan/scan.ts";
import { isCarried, type XattrChoice } from "./carried-xattrs.ts";
import { type EtcMerge, type EtcMergeOptions, type EtcStep, mergeEtc } from "./etc-merge.ts";

/** Where nodes are made, in the new `/etc`; what a cut run left in it goes with the next one. */
const WORKSHOP = ".composefs-merge";

/** Options of {@link mergeEtcDirectories}. */
export interface EtcApplyOptions extends EtcMergeOptions {
  /** Which attributes are carried over: all, those of users, or none. `full` when left out. */
  readonly xattrs?: XattrChoice | undefined;
  /** Of the digests in the pristine tree; sha512 when left out. */
  readonly algorithm?: Algorithm | undefined;
  /** Only plan. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For tests: the calls that change something. */
  readonly calls?: MergeCalls | undefined;
}

/**
 * Merges the local changes of `/etc` into that of a new deployment. Harmless to repeat, also after it was cut at any place.
 *
 * @param pristine `/etc` of the image that the local one began as
 * @param current path of the local `/etc`
 * @param next path of the new one, which is changed
 * @returns the plan that was carried out; nothing was written when it has conflicts and the strategy is `fail`
 * @throws ComposefsError for what the operating system refuses, `unsupported` without koffi
 */
export async function mergeEtcDirectories(
  pristine: Directory,
  current: string,
  next: string,
  options: EtcApplyOptions = {},
): Promise<EtcMerge> {
  const { signal, xattrs = "full", algorithm = "sha512" } = options;
  const scan = { algorithms: [algorithm], xattrs: xattrs !== "none", signal };
  if (!options.dryRun) removeWorkshop(next, options.calls ?? mergeCalls());
  const local = await scanDirectory(current, scan);
  const image = await scanDirectory(next, scan);
  const plan = mergeEtc(pristine, local.root, image.root, options);
  if (!options.dryRun && plan.steps.length > 0) applyEtcSteps(plan.steps, current, next, options);
  return plan;
}

function removeWorkshop(next: string, calls: MergeCalls): void {
  const root = openRoot(next);
  try {
    removeAll(scanCalls(), calls, root, WORKSHOP);
  } catch (error) {
    throw systemError(error, `removing what an earlier merge left in ${next}`, next);
  } finally {
    scanCalls().close(root);
  }
}

function openRoot(path: string): number {
  try {
    return scanCalls().openRoot(path);
  } catch (error) {
    throw systemError(error, `opening ${path}`, path);
  }
}

/** Carries out steps of a plan. @throws ComposefsError with `path` for what the operating system refuses */
function applyEtcSteps(steps: readonly EtcStep[], current: string, next: string, options: EtcApplyOptions): void {
  const from = openRoot(current);
  try {
    const to = openRoot(next);
    try {
      new EtcWriter(from, to, options).run(steps, current, next);
    } finally {
      scanCalls().close(to);
    }
  } finally {
    scanCalls().close(from);
  }
}

class EtcWriter {
  readonly #scan: ScanCalls = scanCalls();
  readonly #calls: MergeCalls;
  readonly #options: EtcApplyOptions;
  readonly #from: number;
  readonly #to: number;
  readonly #buffer = new Uint8Array(1 << 18);
  /** Where a file with several names was put first. */
  readonly #placed = new Map<Leaf, ByteString>();
  readonly #links: Map<Leaf, number> = new Map();
  #count = 0;

  constructor(from: number, to: number, options: EtcApplyOptions) {
    this.#from = from;
    this.#to = to;
    this.#options = options;
    this.#calls = options.calls ?? mergeCalls();
  }

  run(steps: readonly EtcStep[], current: string, next: string): void {
    for (const step of steps)
      if (step.action === "leaf") this.#links.set(step.node, (this.#links.get(step.node) ?? 0) + 1);
    const calls = this.#calls;
    let path = next;
    try {
      calls.makeDirectory(this.#to, WORKSHOP);
      const workshop = this.#scan.open(this.#to, WORKSHOP, "directory", false);
      try {
        for (const step of steps) {
          throwIfAborted(this.#options.signal);
          path = `${next}/${displayBytes(step.path)}`;
          this.#step(step, workshop, `${current}/${displayBytes(step.path)}`);
        }
        path = next;
      } finally {
        this.#scan.close(workshop);
      }
      removeAll(this.#scan, calls, this.#to, WORKSHOP);
      calls.sync(this.#to);
    } catch (error) {
      throw systemError(error, `merging ${path}`, path);
    }
  }

  #step(step: EtcStep, workshop: number, source: string): void {
    const slash = step.path.lastIndexOf("/");
    const name = step.path.slice(slash + 1);
    this.#inParent(this.#to, step.path, (parent) => {
      if (step.action === "remove") removeAll(this.#scan, this.#calls, parent, name);
      else if (step.action === "directory") this.#directory(step.node, parent, name, workshop);
      else this.#leaf(step.node, step.path, parent, name, workshop, source);
      this.#calls.sync(parent);
    });
  }

  // Every directory on the way is opened for itself: a symlink is never followed.
  #inParent<T>(root: number, path: ByteString, work: (parent: number) => T): T {
    const parents = path.split("/").slice(0, -1);
    let fd = root;
    try {
      for (const part of parents) {
        const below = this.#scan.open(fd, part, "directory", false);
        if (fd !== root) this.#scan.close(fd);
        fd = below;
      }
      return work(fd);
    } finally {
      if (fd !== root) this.#scan.close(fd);
    }
  }

  #directory(node: Directory, parent: number, name: ByteString, workshop: number): void {
    const calls = this.#calls;
    let fd: number | undefined;
    try {
      fd = this.#scan.open(parent, name, "directory", false);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "ENOENT") throw error;
    }
    if (fd !== undefined) {
      this.#setMetadata(fd, node.stat);
      return;
    }
    const made = this.#temporaryName();
    calls.makeDirectory(workshop, made);
    this.#setMetadata(this.#scan.open(workshop, made, "directory", false), node.stat);
    calls.rename(workshop, made, parent, name);
  }

  // Sets, flushes and closes.
  #setMetadata(fd: number, stat: Stat): void {
    try {
      this.#calls.setMetadata(fd, this.#metadata(stat));
      this.#calls.sync(fd);
    } finally {
      this.#scan.close(fd);
    }
  }

  #leaf(node: Leaf, path: ByteString, parent: number, name: ByteString, workshop: number, source: string): void {
    const calls = this.#calls;
    const made = this.#temporaryName();
    const first = this.#placed.get(node);
    if (first !== undefined)
      this.#inParent(this.#to, first, (other) => calls.link(other, nameOf(first), workshop, made));
    else if (node.content.kind === "symlink") {
      calls.symlink(node.content.target, workshop, made);
      calls.setLinkMetadata(workshop, made, this.#metadata(node.stat));
    } else {
      const fd = calls.createFile(workshop, made);
      try {
        this.#inParent(this.#from, path, (other) => this.#copy(other, name, fd, source));
      } catch (error) {
        this.#scan.close(fd);
        throw error;
      }
      this.#setMetadata(fd, node.stat);
    }
    calls.rename(workshop, made, parent, name);
    if ((this.#links.get(node) ?? 0) > 1) this.#placed.set(node, path);
  }

  #copy(parent: number, name: ByteString, to: number, source: string): void {
    const from = this.#scan.open(parent, name, "file", false);
    try {
      if ((this.#scan.stat(from).mode & 0o170000) !== 0o100000)
        throw new ComposefsError("io", `${source} is no regular file any more`, {
          path: source,
          hint: "it was changed during the merge; run the same command again",
        });
      for (let at = 0; ; ) {
        const count = this.#scan.read(from, this.#buffer, this.#buffer.length, at);
        if (count === 0) return;
        this.#calls.write(to, this.#buffer, count);
        at += count;
      }
    } finally {
      this.#scan.close(from);
    }
  }

  #metadata(stat: Stat): EntryMetadata {
    const { owners = true, xattrs = "full" } = this.#options;
    const ownsXattr = (name: ByteString) => isCarried(name, xattrs, owners);
    return {
      owner: owners ? { uid: stat.uid, gid: stat.gid } : undefined,
      mode: stat.mode,
      xattrs: new Map([...stat.xattrs].filter(([name]) => ownsXattr(name))),
      ownsXattr,
      mtimeSec: stat.mtimeSec,
      mtimeNsec: stat.mtimeNsec,
    };
  }

  #temporaryName(): ByteString {
    return utf8ByteString(String(this.#count++));
  }
}

function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1);
}

// A node with everything below it; nothing happens when it is not there. Symlinks are removed, never followed.
function removeAll(scan: ScanCalls, calls: MergeCalls, parent: number, name: ByteString): void {
  try {
    calls.unlink(parent, name);
    return;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT") return;
    // EPERM is what some file systems say of a directory.
    if (code !== "EISDIR" && code !== "EPERM") throw error;
  }
  const fd = scan.open(parent, name, "directory", false);
  try {
    for (const entry of scan.entries(fd)) removeAll(scan, calls, fd, entry.name);
  } finally {
    scan.close(fd);
  }
  calls.removeDirectory(parent, name);
}
