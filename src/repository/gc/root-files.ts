// Sizes and removal of very many files of a repository, by their paths in it: through the system calls themselves where those can be
// called, relative to the open directory (docs/spec/repository.md, section 9).

import { lstatSync, unlinkSync } from "node:fs";
import { systemError } from "../../error.ts";
import { type ScanCalls, scanCallsIfAny } from "../../runtime/scan-calls.ts";

const NOT_THERE = new Set(["ENOENT", "ENOTDIR"]);
const TYPE = { directory: 0o040000, symlink: 0o120000 };

/** The files of a repository. Dispose it. */
export class RootFiles implements Disposable {
  readonly #root: string;
  readonly #calls: ScanCalls | undefined;
  #fd = -1;

  /** @param root path of the repository */
  constructor(root: string) {
    this.#root = root;
    this.#calls = scanCallsIfAny();
  }

  /** Apparent size of a file; 0 for symbolic links, undefined for directories and for what is not there. */
  size(path: string): number | undefined {
    const calls = this.#calls;
    if (calls === undefined || !isAscii(path)) {
      const stat = lstatSync(`${this.#root}/${path}`, { throwIfNoEntry: false });
      if (stat === undefined || stat.isDirectory()) return undefined;
      return stat.isSymbolicLink() ? 0 : stat.size;
    }
    try {
      const { type, size } = calls.look(this.#opened(calls), path);
      return type === TYPE.directory ? undefined : type === TYPE.symlink ? 0 : size;
    } catch (error) {
      if (NOT_THERE.has((error as { code: string }).code)) return undefined;
      throw systemError(error, `looking at ${path}`, `${this.#root}/${path}`);
    }
  }

  /** Removes a file or a link; one that is not there is fine. */
  remove(path: string): void {
    const calls = this.#calls;
    try {
      if (calls === undefined || !isAscii(path)) unlinkSync(`${this.#root}/${path}`);
      else calls.unlink(this.#opened(calls), path);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "ENOENT")
        throw systemError(error, `removing ${path}`, `${this.#root}/${path}`);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) this.#calls?.close(this.#fd);
    this.#fd = -1;
  }

  #opened(calls: ScanCalls): number {
    if (this.#fd < 0) this.#fd = calls.openRoot(`${this.#root}/.`);
    return this.#fd;
  }
}

// Other names are encoded by `node:fs`.
function isAscii(path: string): boolean {
  return !/[^\x20-\x7e]/.test(path);
}
