// The object store: content-addressed files below `objects/` (docs/spec/repository.md, sections 5 and 6). Synchronous and
// built from plain data, so that a worker thread can have its own; it takes no locks, whoever uses it holds the shared one.

import { constants, fstatSync, lstatSync, readSync, unlinkSync } from "node:fs";
import { type Algorithm, isObjectId, type ObjectId, objectPath } from "../bytes/algorithm.ts";
import { FsverityHasher, fsverityDigest, fsverityFile } from "../core/fsverity.ts";
import { ComposefsError, systemError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import { type AdoptableFile, type AdoptMethod, hashTold } from "./adopt-file.ts";
import { copyHashing } from "./copy-hashing.ts";
import { isDamaged, openObject, type StoredObject } from "./object-read.ts";
import { enableVerity, type VerityState } from "./object-verity.ts";
import {
  closeTemporary,
  errorCode,
  fileChanged,
  linkNew,
  makeDirectory,
  replaceObject,
  type Temporary,
  TemporaryObjects,
  writeAll,
  writeError,
} from "./temporary-objects.ts";

/** What a store needs to know: plain data, can be sent to another thread. */
export interface ObjectStoreOptions {
  /** Absolute path of the repository. */
  path: string;
  /** Absolute path of the directory with the objects, where that is not `objects` in the repository. */
  objects?: string;
  algorithm: Algorithm;
  /** Whether every object must have fs-verity enabled. */
  secure: boolean;
  /**
   * Compare the content of an object that exists already with what is stored, and replace it when it differs. On by
   * default where the kernel does not vouch for it, that is in insecure repositories.
   */
  verifyExisting?: boolean;
}

/** What became of an object. */
export interface PutResult {
  id: ObjectId;
  /** False when it was there already, undamaged. */
  created: boolean;
}

/** The result of a streamed object. */
export interface SinkResult extends PutResult {
  /** Bytes of the object. */
  size: number;
}

/** Takes the content of one object piece by piece. */
export interface ObjectSink {
  /** Appends bytes; they may be reused afterwards. */
  write(bytes: Uint8Array): void;
  /** Publishes the object. The sink is spent. */
  commit(): SinkResult;
  /** Gives up and removes what was written. Harmless after a commit. */
  abort(): void;
}

const MAX_KNOWN = 200_000;

// Objects in a row that were not there, after which putSync writes without looking first: the lookup costs 5 us of the
// 70 us of a small object, and publishing notices an existing one just as well.
const SURE_OF_ABSENCE = 300;

/** The objects of one repository. */
export class ObjectStore {
  readonly options: Readonly<ObjectStoreOptions>;
  readonly #objects: string;
  readonly #verifyExisting: boolean;
  readonly #verity: VerityState = { supported: undefined };
  // Objects that this store has written or checked: a second time costs no system call.
  readonly #known = new Set<ObjectId>();
  readonly #temporaries: TemporaryObjects;
  // How many objects in a row were new.
  #absences = 0;

  constructor(options: ObjectStoreOptions) {
    this.options = { ...options };
    this.#objects = options.objects ?? `${options.path}/objects`;
    this.#verifyExisting = options.verifyExisting ?? !options.secure;
    this.#temporaries = new TemporaryObjects(this.#objects, options);
  }

  /** Absolute path of an object; its id is checked. */
  path(id: ObjectId): string {
    if (!isObjectId(id, this.options.algorithm))
      throw new ComposefsError("invalid", `not a ${this.options.algorithm} object id: ${String(id)}`, { digest: id });
    return `${this.#objects}/${objectPath(id)}`;
  }

  /** Whether the object is there (as a file; its content is not checked). */
  hasSync(id: ObjectId): boolean {
    return this.#known.has(id) || lstatSync(this.path(id), { throwIfNoEntry: false })?.isFile() === true;
  }

  /**
   * Stores an object that is in memory.
   *
   * @param id its id, when the caller has computed it already
   */
  putSync(bytes: Uint8Array, id: ObjectId = fsverityDigest(this.options.algorithm, bytes)): PutResult {
    if (this.#known.has(id)) return { id, created: false };
    const path = this.path(id);
    const state = this.#absences < SURE_OF_ABSENCE ? this.#existing(path, id, bytes.length, bytes) : "absent";
    let created = false;
    if (state !== "good") {
      const temporary = this.#temporaries.create();
      try {
        writeAll(temporary.fd, bytes);
      } catch (error) {
        this.#temporaries.drop(temporary);
        throw writeError(this.options.path, error, id, bytes.length);
      }
      created = this.#publish(temporary, path, id, bytes.length, state);
    }
    this.#absences = created ? this.#absences + 1 : 0;
    this.#remember(id);
    return { id, created };
  }

  /** Stores an object whose content comes in pieces. */
  newObjectSync(): ObjectSink {
    const hasher = new FsverityHasher(this.options.algorithm);
    const temporary = this.#temporaries.create();
    let size = 0;
    let open = true;
    const abort = () => {
      if (!open) return;
      open = false;
      hasher[Symbol.dispose]();
      this.#temporaries.drop(temporary);
    };
    return {
      write: (bytes) => {
        if (!open) throw new ComposefsError("internal", "the object is closed already");
        try {
          hasher.update(bytes);
          writeAll(temporary.fd, bytes);
          size += bytes.length;
        } catch (error) {
          abort();
          throw writeError(this.options.path, error, undefined, size + bytes.length);
        }
      },
      commit: () => {
        if (!open) throw new ComposefsError("internal", "the object is closed already");
        open = false;
        const id = hasher.digest();
        hasher[Symbol.dispose]();
        let state: Existing;
        let path: string;
        try {
          path = this.path(id);
          state = this.#known.has(id) ? "good" : this.#existing(path, id, size, undefined);
        } catch (error) {
          this.#temporaries.drop(temporary);
          throw error;
        }
        let created = false;
        if (state === "good") this.#temporaries.drop(temporary);
        else created = this.#publish(temporary, path, id, size, state);
        this.#remember(id);
        return { id, size, created };
      },
      abort,
    };
  }

  /**
   * Stores the content of an open file, sharing its blocks where the file system can.
   *
   * @param size bytes of the file
   * @param check may throw, before each piece
   */
  putFileSync(fd: number, size: number, check: () => void = () => undefined): SinkResult {
    const read = (from: number, target: Uint8Array, length: number, position: number) => {
      check();
      return readSync(from, target, 0, length, position);
    };
    let expected: ObjectId | undefined;
    if (this.#absences < SURE_OF_ABSENCE) {
      expected = fsverityFile(this.options.algorithm, fd, size, read);
      if (this.#known.has(expected) || this.#existing(this.path(expected), expected, size, undefined) === "good") {
        this.#absences = 0;
        this.#remember(expected);
        return { id: expected, size, created: false };
      }
    }
    const temporary = this.#temporaries.create(constants.O_RDWR);
    let id: ObjectId;
    try {
      // The source may have changed since: what counts is what was stored.
      id = syscalls().cloneFile(temporary.fd, fd)
        ? fsverityFile(this.options.algorithm, temporary.fd, undefined, read)
        : copyHashing(this.options.algorithm, temporary.fd, fd, check);
      if ((expected !== undefined && expected !== id) || fstatSync(temporary.fd).size !== size) throw fileChanged();
    } catch (error) {
      this.#temporaries.drop(temporary);
      throw writeError(this.options.path, error, expected, size);
    }
    const path = this.path(id);
    const created = this.#publish(temporary, path, id, size, this.#existing(path, id, size, undefined));
    this.#absences = created ? this.#absences + 1 : 0;
    this.#remember(id);
    return { id, size, created };
  }

  /**
   * Makes an object of a file that someone else owns, without copying it.
   *
   * @returns why that cannot be done, in words that follow "because"; then nothing has been read or changed
   */
  adoptSync(file: AdoptableFile, method: AdoptMethod): SinkResult | string {
    const temporary = method === "reflink" ? this.#temporaries.clone(file) : this.#temporaries.link(file);
    if (typeof temporary === "string") return temporary;
    let id: ObjectId | undefined;
    try {
      // What is hashed is what will be the object, whatever happens to the file meanwhile.
      const hashed = hashTold(this.options.algorithm, temporary.fd, file);
      id = hashed.id;
      if (hashed.size !== file.size) throw fileChanged();
      const path = this.path(id);
      const state = this.#known.has(id) ? "good" : this.#existing(path, id, file.size, undefined);
      let created = false;
      if (state === "good") this.#temporaries.drop(temporary);
      else created = this.#publish(temporary, path, id, file.size, state);
      this.#remember(id);
      return { id, size: file.size, created };
    } catch (error) {
      if (temporary.fd >= 0) this.#temporaries.drop(temporary);
      throw writeError(this.options.path, error, id, file.size);
    }
  }

  /** Opens an object for reading; see {@link openObject} for what is checked. The caller closes it. */
  openSync(id: ObjectId): StoredObject {
    return openObject(this.path(id), id, this.options);
  }

  /** Opens an object whatever its content is: for checks. It must only be a regular file. */
  openUncheckedSync(id: ObjectId): StoredObject {
    return openObject(this.path(id), id, { ...this.options, unchecked: true });
  }

  /**
   * The verified content of an object.
   *
   * @param limit `limit` error when the object is larger
   */
  readSync(id: ObjectId, limit: number): Uint8Array {
    const object = this.openSync(id);
    try {
      if (object.size > limit)
        throw new ComposefsError("limit", `object ${id} has ${object.size} bytes, at most ${limit} are accepted here`, {
          digest: id,
        });
      const bytes = object.read(0, object.size);
      if (!object.verified) {
        const measured = fsverityDigest(this.options.algorithm, bytes);
        if (measured !== id) throw isDamaged(id, measured);
      }
      return bytes;
    } finally {
      object.close();
    }
  }

  /** Forgets which objects were seen: after a collection some of them are gone. */
  forget(): void {
    this.#known.clear();
  }

  #remember(id: ObjectId): void {
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.add(id);
  }

  // What is under the final name: nothing, a good object, or something that is to be replaced.
  #existing(path: string, id: ObjectId, size: number, content: Uint8Array | undefined): Existing {
    let found: ReturnType<typeof lstatSync>;
    try {
      found = lstatSync(path, { throwIfNoEntry: false });
    } catch (error) {
      throw systemError(error, `looking for object ${id}`, path);
    }
    if (found === undefined) return "absent";
    if (!found.isFile() || found.size !== size) return "damaged";
    if (!this.options.secure && !this.#verifyExisting) return "good";
    try {
      const object = openObject(path, id, this.options);
      try {
        if (object.verified || !this.#verifyExisting) return "good";
        if (content) return Buffer.compare(object.read(0, size), content) === 0 ? "good" : "damaged";
        return fsverityFile(this.options.algorithm, object.fd, size) === id ? "good" : "damaged";
      } finally {
        object.close();
      }
    } catch (error) {
      // Unreadable or without the fs-verity that it must have.
      if (error instanceof ComposefsError && error.code === "corrupt") return "damaged";
      throw error;
    }
  }

  // Gives the temporary file its final name; never replaces an object unless it is damaged. Closes it in any case. False
  // when an undamaged object has the name already.
  #publish(temporary: Temporary, path: string, id: ObjectId, size: number, state: Existing): boolean {
    try {
      // A file of someone else gets fs-verity, which stays for ever, only where it must have it.
      if (this.options.secure || (this.#verity.supported !== false && temporary.linked !== true))
        enableVerity(temporary, id, this.options, this.#verity);
      for (let attempt = 0; ; attempt++) {
        try {
          if (state === "damaged") replaceObject(temporary.path, path);
          else if (!linkNew(temporary.path, path)) {
            if (this.#existing(path, id, size, undefined) === "good") {
              unlinkSync(temporary.path);
              return false;
            }
            replaceObject(temporary.path, path);
          }
          return true;
        } catch (error) {
          if (attempt > 0 || errorCode(error) !== "ENOENT") throw error;
          makeDirectory(path.slice(0, path.lastIndexOf("/")));
        }
      }
    } catch (error) {
      this.#temporaries.drop(temporary);
      throw writeError(this.options.path, error, id, size);
    } finally {
      closeTemporary(temporary);
    }
  }
}

type Existing = "absent" | "good" | "damaged";
