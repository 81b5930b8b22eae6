// Opens the files of a layer, which come from an image and may be anything: no link is followed, nothing is waited for
// (docs/spec/containers-storage.md, section 7.2). Node has no openat: names are looked up below `/proc/self/fd/N`.

import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";

import { type ByteString, displayBytes, fromByteString } from "../../../bytes/byte-string.ts";
import { ComposefsError, systemError } from "../../../error.ts";
import { errnoOf, storageError, type StorageFault } from "./fault.ts";

/** A regular file of a layer, open. */
export interface DiffFile {
  readonly fd: number;
  /** A path by which it can be linked while its directory is open: until the next call. */
  readonly path: string | Buffer;
  readonly size: number;
}

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const PROBLEMS: Partial<Record<StorageFault, string>> = {
  missing: "is missing",
  symlink: "is reached through a symbolic link, or is one",
  "not-regular": "is no regular file",
  permission: "cannot be read",
};

/**
 * The parts of a name in an archive: `/abs/file` and `./x//y` are legal.
 *
 * @returns undefined for a name that leaves the layer or means none of its files
 */
export function nameParts(name: ByteString): ByteString[] | undefined {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  return parts.length === 0 || parts.includes("..") || name.includes("\0") ? undefined : parts;
}

/** The files below one directory. Dispose it. */
export class DiffFiles implements Disposable {
  readonly directory: string;
  // The directories of the last file: neighbours in an archive are neighbours here.
  readonly #open: { name: ByteString; fd: number }[] = [];

  /** @param directory the layer's `diff`; where it is missing every file is */
  constructor(directory: string) {
    this.directory = directory;
  }

  /**
   * Opens a regular file. The caller closes its descriptor.
   *
   * @param parts from {@link nameParts}
   * @throws ComposefsError with the reason `missing`, `symlink`, `not-regular` or `permission`
   */
  open(parts: readonly ByteString[]): DiffFile {
    const name = parts.at(-1) as ByteString;
    const fail = (fault: StorageFault, cause?: unknown) =>
      storageError(fault, `the file "${displayBytes(parts.join("/"))}" ${PROBLEMS[fault]} in ${this.directory}`, {
        path: `${this.directory}/${displayBytes(parts.join("/"))}`,
        cause,
      });
    let path: string | Buffer = this.directory;
    try {
      const parent = this.#directoryOf(parts);
      path = below(parent, name);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found === undefined) throw fail("missing");
      if (found.isSymbolicLink()) throw fail("symlink");
      if (!found.isFile()) throw fail("not-regular");
      const fd = openSync(path, FILE);
      const stat = fstatSync(fd);
      if (stat.isFile()) return { fd, path, size: stat.size };
      closeSync(fd);
      throw fail("not-regular");
    } catch (error) {
      const fault = FAULTS[errnoOf(error) ?? ""];
      if (error instanceof ComposefsError || fault === undefined) {
        throw systemError(error, `opening "${displayBytes(parts.join("/"))}"`, this.directory);
      }
      throw fail(fault, error);
    }
  }

  [Symbol.dispose](): void {
    this.#closeFrom(0);
  }

  #directoryOf(parts: readonly ByteString[]): number {
    const names = ["", ...parts.slice(0, -1)];
    let same = 0;
    while (same < names.length && this.#open[same]?.name === names[same]) same++;
    this.#closeFrom(same);
    for (const name of names.slice(same)) {
      const parent = this.#open.at(-1)?.fd;
      const path = parent === undefined ? this.directory : below(parent, name);
      let fd: number;
      try {
        fd = openSync(path, DIRECTORY);
      } catch (error) {
        // The same answer for a link and for a file.
        const isLink =
          errnoOf(error) === "ENOTDIR" && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
        throw isLink ? Object.assign(new Error("ELOOP"), { code: "ELOOP" }) : error;
      }
      this.#open.push({ name, fd });
    }
    return (this.#open.at(-1) as { fd: number }).fd;
  }

  #closeFrom(level: number): void {
    for (const { fd } of this.#open.splice(level)) closeSync(fd);
  }
}

const FAULTS: Record<string, StorageFault> = {
  ENOENT: "missing",
  ENOTDIR: "missing",
  ESTALE: "missing",
  ENAMETOOLONG: "missing",
  ELOOP: "symlink",
  ENXIO: "not-regular",
  EACCES: "permission",
  EPERM: "permission",
};

/** The path of a name in an open directory. Names that are not UTF-8 are bytes, which Deno cannot open. */
function below(directory: number, name: ByteString): string | Buffer {
  const prefix = `/proc/self/fd/${directory}/`;
  const bytes = Buffer.from(fromByteString(name));
  const text = bytes.toString("utf8");
  if (Buffer.from(text, "utf8").equals(bytes)) return prefix + text;
  if (process.versions["deno"] !== undefined) {
    throw new ComposefsError(
      "unsupported",
      `Deno cannot open the file "${displayBytes(name)}": its name is not UTF-8`,
      {
        hint: "run the command on Node or Bun",
      },
    );
  }
  return Buffer.concat([Buffer.from(prefix), bytes]);
}
