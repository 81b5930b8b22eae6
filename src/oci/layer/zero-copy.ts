// Objects from files that lie unpacked in a source, without copying them where that can and should be done
// (docs/spec/containers-storage.md, section 8.1): share blocks, else give the file a second name, else copy.

import { fstatSync } from "node:fs";

import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { type AdoptableFile, hashTold } from "../../repository/adopt-file.ts";
import type { ObjectStore, PutResult } from "../../repository/object-store.ts";
import type { FileContent } from "../source/source.ts";
import type { AdoptedObject } from "./split.ts";

/**
 * How contents come from a source that has them as files: always copied; without a copy where it is possible and safe; or never copied,
 * which can fail.
 */
export type LocalFetch = "disabled" | "auto" | "zerocopy";

/** What a file's mode says: others cannot read it, or it runs with the rights of its owner. Such files are few and small. */
const SET_ID = 0o6000;
const OTHERS_READ = 0o004;

/** Whether `auto` may give a file a second name. An object of a repository without fs-verity could be changed through the first one. */
export function mayLink(mode: number, secure: boolean): boolean {
  return secure && (mode & SET_ID) === 0 && (mode & OTHERS_READ) !== 0;
}

/** The ladder of methods, for all layers of a pull. */
export class ZeroCopy {
  readonly #store: ObjectStore;
  readonly #mode: LocalFetch;
  readonly #onProgress: ProgressListener | undefined;
  // Devices whose files do not share blocks with the repository.
  readonly #unshared = new Set<number>();
  #warned = false;

  constructor(store: ObjectStore, mode: LocalFetch, onProgress?: ProgressListener) {
    this.#store = store;
    this.#mode = mode;
    this.#onProgress = onProgress;
  }

  /**
   * Stores a content without a copy of it.
   *
   * @param tell told of the bytes as they are in the object
   * @returns undefined when it is to be copied; then nothing has been told
   * @throws ComposefsError `unsupported` (`E_ZERO_COPY`) when it would have to be and must not; what the content's check throws
   */
  store(content: FileContent, tell: (bytes: Uint8Array) => void): AdoptedObject | PutResult | undefined {
    if (this.#mode === "disabled") return undefined;
    const { file } = content;
    if (file === undefined) return this.#refuse(content, "only a helper in a user namespace can read it");
    const check = content.check();
    const source: AdoptableFile = {
      ...file,
      size: content.size,
      update(bytes) {
        check.update(bytes);
        tell(bytes);
      },
      finish: () => check.finish(),
    };
    const { dev, mode } = fstatSync(file.fd);
    const why: string[] = [];
    if (this.#unshared.has(dev)) why.push("reflink: the file systems of both cannot share blocks");
    else {
      const cloned = this.#store.adoptSync(source, "reflink");
      if (typeof cloned === "object") return { ...cloned, method: "reflinked" };
      this.#unshared.add(dev);
      why.push(`reflink: ${cloned}`);
    }
    const { secure, algorithm } = this.#store.options;
    if (this.#mode === "auto" && !mayLink(mode, secure)) return undefined;
    const linked = this.#store.adoptSync(source, "hardlink");
    if (typeof linked === "object") {
      if (!secure) this.#warn();
      return { ...linked, method: "hardlinked" };
    }
    if (this.#mode === "auto") return undefined;
    // An object that is there already needs neither.
    const { id } = hashTold(algorithm, file.fd, source);
    if (this.#store.hasSync(id)) return { id, created: false };
    return this.#refuse(content, [...why, `hard link: ${linked}`].join("; "));
  }

  #refuse({ name }: FileContent, why: string): undefined {
    if (this.#mode !== "zerocopy") return undefined;
    throw new ComposefsError("unsupported", `the file "${name}" can only be copied into the repository: ${why}`, {
      path: name,
      reason: "E_ZERO_COPY",
      hint: "put the repository on the file system of the container store, or copy with --local-fetch auto",
    });
  }

  #warn(): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#onProgress?.({
      type: "warning",
      message:
        "objects are hard links to files of the container store, and this repository is without fs-verity: what changes those files changes the objects",
    });
  }
}
