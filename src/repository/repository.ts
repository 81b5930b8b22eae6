// The handle of a repository: one per repository and process, holding the shared lock from open to close
// (docs/spec/repository.md).

import { closeSync } from "node:fs";
import { resolve } from "node:path";
import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { type LockHolder, lockHolders } from "../runtime/lock-holders.ts";
import { type LockWait, syscalls } from "../runtime/syscalls.ts";
import { readSplitstream, type Splitstream } from "../splitstream/read.ts";
import type { SplitstreamWriter } from "../splitstream/write.ts";
import { catStream } from "./cat.ts";
import type { InitOptions, InitResult } from "./init.ts";
import { objectTarget, putLink, removeLink, walkLinks } from "./links.ts";
import { effectiveFormats, type ErofsFormat, type Meta } from "./meta.ts";
import { type Category, checkEntryName, checkRefName } from "./names.ts";
import type { StoredObject } from "./object-read.ts";
import { type ObjectSink, ObjectStore, type PutResult } from "./object-store.ts";
import { directoryKey, type OpenDirectory, openDirectory, writeObstacle } from "./open-directory.ts";
import { entryObject, refEntry, type Resolved, resolveImage, resolveStream } from "./resolve.ts";
import { storedStreamReader } from "./stream-file.ts";

/** Options of {@link Repository.open}. */
export interface OpenOptions {
  /**
   * true: fail at once when the repository cannot be written. false: writing is refused. Left out: checked at the first
   * write.
   */
  write?: boolean;
  signal?: AbortSignal;
  /** `none` switches {@link Repository.barrier} off: for throw-away repositories. */
  durability?: "full" | "none";
  /** Fail unless the repository requires fs-verity. */
  requireVerity?: boolean;
  /** Fail when there is no meta.json instead of inferring it from the objects. */
  noUpgrade?: boolean;
  /** The algorithm that is expected; another one is an error. */
  hash?: Algorithm;
  /** Write images in this one format instead of the repository's own. */
  erofsVersion?: ErofsFormat;
  /** How long to wait while another process collects garbage, and whom to tell. */
  lock?: LockWait;
}

/** A ref: a name for a stream or an image. */
export interface Ref {
  /** The name below `streams/refs/` or `images/refs/`. */
  name: string;
  /** The content id or image id that it names: the last component of its target, dangling or not. */
  target: string;
}

// Open handles by directory, to notice a lock that this process waits for itself.
const handles = new Map<string, number>();

/** How many handles of the repository this process has open; `fd` is any descriptor of its directory. */
export function openHandles(fd: number): number {
  return handles.get(directoryKey(fd)) ?? 0;
}

/**
 * A repository.
 *
 * @example
 * ```ts
 * await Repository.init("/tmp/repo", { insecure: true });
 * await using repository = await Repository.open("/tmp/repo");
 * const { id } = await repository.putObject(new TextEncoder().encode("hello world"));
 * ```
 */
export class Repository implements AsyncDisposable {
  /** Absolute path. */
  readonly path: string;
  readonly algorithm: Algorithm;
  /** Whether fs-verity is required. */
  readonly secure: boolean;
  readonly meta: Meta;
  /** Whether meta.json exists; without it the repository is read-only. */
  readonly hasMeta: boolean;
  /** Formats that a commit writes, the default one first. */
  readonly formats: readonly ErofsFormat[];
  /** The objects, for use in this thread. Worker threads build their own from `store.options`. */
  readonly store: ObjectStore;
  readonly #directory: OpenDirectory;
  readonly #options: OpenOptions;
  readonly #key: string;
  #writable: boolean | undefined;
  #closed = false;

  private constructor(directory: OpenDirectory, options: OpenOptions) {
    this.#directory = directory;
    this.#options = options;
    this.path = directory.path;
    this.algorithm = directory.meta.algorithm;
    this.secure = directory.secure;
    this.meta = directory.meta;
    this.hasMeta = directory.hasMeta;
    this.formats = options.erofsVersion === undefined ? effectiveFormats(directory.meta) : [options.erofsVersion];
    this.store = new ObjectStore({ path: this.path, algorithm: this.algorithm, secure: this.secure });
    this.#key = directoryKey(directory.fd);
    handles.set(this.#key, (handles.get(this.#key) ?? 0) + 1);
  }

  /** Makes a repository; see `initRepository`. */
  static async init(path: string, options: InitOptions = {}): Promise<InitResult> {
    const { initRepository } = await import("./init.ts");
    return initRepository(path, options);
  }

  /**
   * Opens a repository and takes the shared lock, waiting while another process collects garbage. Writes nothing.
   *
   * @throws ComposefsError `not-found`, `not-a-repository`, `incompatible`, `invalid`; with `write: true` also
   * `read-only` or `permission`
   */
  static async open(path: string, options: OpenOptions = {}): Promise<Repository> {
    throwIfAborted(options.signal);
    const lock = { ...(options.signal ? { signal: options.signal } : {}), ...options.lock };
    const directory = await openDirectory(resolve(path), { noUpgrade: options.noUpgrade === true, lock });
    try {
      const { algorithm } = directory.meta;
      if (options.hash !== undefined && options.hash !== algorithm)
        throw new ComposefsError(
          "usage",
          `repository is configured for ${algorithm} but --hash ${options.hash} was specified`,
          { path: directory.path },
        );
      if (options.requireVerity && !directory.secure)
        throw new ComposefsError("unsupported", `the repository ${directory.path} does not require fs-verity`, {
          path: directory.path,
          hint: "it was made with --insecure; make a new one without it and pull again",
        });
      const repository = new Repository(directory, options);
      if (options.write) repository.checkWritable();
      return repository;
    } catch (error) {
      closeSync(directory.fd);
      throw error;
    }
  }

  /** Fails unless the repository can be written. */
  checkWritable(): void {
    this.#checkOpen();
    if (this.#writable) return;
    if (this.#options.write === false)
      throw new ComposefsError("read-only", `the repository ${this.path} was opened for reading only`, {
        path: this.path,
      });
    if (this.#directory.readOnlyReason !== undefined)
      throw new ComposefsError("read-only", `Repository is not writable: ${this.#directory.readOnlyReason}`, {
        path: this.path,
      });
    const obstacle = writeObstacle(this.path);
    if (obstacle) throw obstacle;
    this.#writable = true;
  }

  /** Absolute path of an object. */
  objectPath(id: ObjectId): string {
    return this.store.path(id);
  }

  /** Whether the object exists; its content is not checked. */
  hasObject(id: ObjectId): boolean {
    this.#checkOpen();
    return this.store.hasSync(id);
  }

  /** Stores an object. One that exists already but is damaged is replaced. */
  async putObject(bytes: Uint8Array): Promise<PutResult> {
    this.checkWritable();
    return this.store.putSync(bytes);
  }

  /** Stores an object whose content comes in pieces. */
  newObject(): ObjectSink {
    this.checkWritable();
    return this.store.newObjectSync();
  }

  /**
   * The verified content of an object.
   *
   * @param options.limit largest accepted size in bytes, 64 MiB when left out
   */
  async readObject(id: ObjectId, options: { limit?: number } = {}): Promise<Uint8Array> {
    this.#checkOpen();
    return this.store.readSync(id, options.limit ?? 64 << 20);
  }

  /**
   * Opens an object. Where the kernel does not vouch for it (`verified` is false), whoever reads it must verify the
   * content. The caller closes it.
   */
  openObject(id: ObjectId): StoredObject {
    this.#checkOpen();
    return this.store.openSync(id);
  }

  /** The object of a stream; undefined when there is no such stream or its object is missing. */
  stream(contentId: string): ObjectId | undefined {
    this.#checkOpen();
    checkEntryName(contentId, "content id");
    const id = entryObject(this.path, "streams", contentId, this.algorithm);
    return id !== undefined && this.store.hasSync(id) ? id : undefined;
  }

  /** Resolves the name of a stream: a content id or `refs/NAME`. */
  resolveStream(name: string): Resolved {
    this.#checkOpen();
    return resolveStream(this.path, name, this.algorithm);
  }

  /** Resolves the name of an image: an id (also with its prefix, or shortened), or the name of a ref. */
  resolveImage(name: string): Resolved {
    this.#checkOpen();
    return resolveImage(this.path, name, this.algorithm);
  }

  /** Opens a stream by content id, by `refs/NAME` or by the id of its object. The file is verified first. */
  async openStream(name: string): Promise<Splitstream> {
    this.#checkOpen();
    const id = this.#streamObject(name);
    return readSplitstream(storedStreamReader(this.store, id), this.algorithm, `stream ${name}`);
  }

  /**
   * Stores a finished splitstream as an object, without a name.
   *
   * @returns the id of the splitstream's object
   */
  async storeStream(writer: SplitstreamWriter): Promise<ObjectId> {
    this.checkWritable();
    const sink = this.store.newObjectSync();
    try {
      writer.finishTo((bytes) => sink.write(bytes));
      return sink.commit().id;
    } finally {
      writer.discard();
      sink.abort();
    }
  }

  /**
   * Stores a splitstream and, after a barrier, makes it known by its content id; an existing link is re-pointed. To
   * register many streams with one barrier use {@link storeStream} and {@link linkStream}.
   */
  async putStream(contentId: string, writer: SplitstreamWriter): Promise<ObjectId> {
    checkEntryName(contentId, "content id");
    const id = await this.storeStream(writer);
    await this.barrier();
    this.linkStream(contentId, id);
    return id;
  }

  /** Makes a stored splitstream known by its content id. */
  linkStream(contentId: string, id: ObjectId): void {
    checkEntryName(contentId, "content id");
    this.#link(`streams/${contentId}`, id);
  }

  /** Makes a stored image known by its id: only such images may be mounted. */
  linkImage(id: ObjectId): void {
    this.#link(`images/${id}`, id);
  }

  /**
   * Points a ref at a stream or image that is there; an existing ref is replaced.
   *
   * @throws ComposefsError `not-found` when the target is missing, `usage` for a bad name
   */
  setRef(category: Category, name: string, target: string): void {
    this.checkWritable();
    checkRefName(name);
    checkEntryName(target, category === "streams" ? "content id" : "image id");
    const id = entryObject(this.path, category, target, this.algorithm);
    if (id === undefined || !this.store.hasSync(id))
      throw new ComposefsError(
        "not-found",
        `${name} cannot name ${target}: there is no such ${category === "streams" ? "stream" : "image"}`,
        { hint: "pull the image first" },
      );
    putLink(this.path, `${category}/refs/${name}`, `${category}/${target}`);
  }

  /** Removes a ref. False when there is none. */
  removeRef(category: Category, name: string): boolean {
    this.checkWritable();
    checkRefName(name);
    return removeLink(this.path, `${category}/refs/${name}`);
  }

  /** The content id or image id that a ref names; undefined when there is no such ref. */
  ref(category: Category, name: string): string | undefined {
    this.#checkOpen();
    checkRefName(name);
    return refEntry(this.path, category, name);
  }

  /**
   * The refs below a prefix such as `oci`, sorted by name, dangling ones included.
   *
   * @param prefix directory below `refs/`; names in the result are relative to it
   */
  refs(category: Category, prefix: string = ""): Ref[] {
    this.#checkOpen();
    if (prefix !== "") checkRefName(prefix);
    const directory = `${category}/refs${prefix === "" ? "" : `/${prefix}`}`;
    return walkLinks(this.path, directory).flatMap(({ name, target }) =>
      target === undefined ? [] : [{ name, target: target.slice(target.lastIndexOf("/") + 1) }],
    );
  }

  /** The named images, sorted: refs below `images/refs/`. */
  images(): Ref[] {
    return this.refs("images");
  }

  /**
   * Reconstructs a stream; every byte is verified. What precedes a defect was given to the sink already when it fails.
   *
   * @param sink receives the bytes in order; a piece is valid until its promise resolves
   */
  async cat(
    name: string,
    sink: (bytes: Uint8Array) => void | Promise<void>,
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    const stream = await this.openStream(name);
    await catStream(this.store, stream, `stream ${name}`, sink, options.signal);
  }

  /**
   * Makes everything written so far durable, before links to it are made: objects, barrier, links, barrier, refs.
   */
  async barrier(): Promise<void> {
    this.#checkOpen();
    if (this.#options.durability === "none") return;
    syscalls().syncfs(this.#directory.fd, this.path);
  }

  /**
   * Runs an action while nobody else has the repository open, in this or another process; then the lock is shared again.
   * What was read before must be read anew: others may have had the lock in between.
   *
   * @throws ComposefsError `locked`, `aborted`
   */
  async withExclusiveLock<T>(wait: LockWait, action: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    const others = (handles.get(this.#key) ?? 1) - 1;
    if (others > 0)
      throw new ComposefsError(
        "locked",
        `this process has the repository ${this.path} open ${others} more time${others > 1 ? "s" : ""}`,
        { path: this.path, hint: "close the other handles first" },
      );
    const { fd } = this.#directory;
    try {
      await syscalls().flock(fd, "exclusive", wait);
      this.store.forget();
      return await action();
    } finally {
      this.store.forget();
      await this.#shareLock(wait.signal);
    }
  }

  /** The other processes that have the repository open, as far as that can be found out. */
  lockHolders(): LockHolder[] {
    this.#checkOpen();
    return lockHolders(this.#directory.fd);
  }

  /** Releases the lock. Harmless when called again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const count = (handles.get(this.#key) ?? 1) - 1;
    if (count > 0) handles.set(this.#key, count);
    else handles.delete(this.#key);
    closeSync(this.#directory.fd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // An attempt at the exclusive lock that failed has lost the shared one, too. Whoever does not get it back is closed.
  async #shareLock(signal: AbortSignal | undefined): Promise<void> {
    const { fd } = this.#directory;
    if (syscalls().tryLock(fd, "shared")) return;
    try {
      await syscalls().flock(fd, "shared", signal ? { signal } : {});
    } catch {
      await this.close();
    }
  }

  #streamObject(name: string): ObjectId {
    try {
      return resolveStream(this.path, name, this.algorithm).id;
    } catch (error) {
      // The id of an object, as printed by other commands, is a name too when nothing else has it.
      if (error instanceof ComposefsError && error.code === "not-found" && /^[0-9a-f]{64,128}$/.test(name)) {
        if (this.store.hasSync(name)) return name;
      }
      throw error;
    }
  }

  #link(link: string, id: ObjectId): void {
    this.checkWritable();
    if (!this.store.hasSync(id))
      throw new ComposefsError("internal", `${link} must not be linked: its object ${id} is missing`, { digest: id });
    putLink(this.path, link, objectTarget(id));
  }

  #checkOpen(): void {
    if (this.#closed) throw new ComposefsError("internal", `the repository ${this.path} is closed already`);
  }
}
