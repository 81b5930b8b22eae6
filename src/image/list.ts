// The listing of an image as `composefs-info ls` prints it (docs/spec/tools-c.md, section 2).

import type { ImageInput } from "../core/erofs-read.ts";
import { type EntriesOptions, imageLines, lineHead } from "./entries.ts";

const DIRECTORY = 0o04;
const SYMLINK = 0o12;

/**
 * The lines of a listing, each with its end, without the root: `PATH/` and a tab for directories, the path, a tab and `-> TARGET`
 * or `@ PAYLOAD` for symlinks and for files that are objects, the path alone for all others and for further names of a file.
 *
 * @throws ComposefsError `invalid` if the image is not valid
 * @example
 * ```ts
 * for (const line of listImage(fd)) process.stdout.write(line);
 * ```
 */
export function* listImage(image: ImageInput, options: EntriesOptions = {}): Generator<string, void, undefined> {
  for (const lines of imageLines(image, options)) {
    for (const line of lines) {
      // The root comes first, and alone begins like this.
      if (!line.startsWith("/ ")) yield listLine(line);
    }
  }
}

function listLine(line: string): string {
  const { path, type, payload } = lineHead(line);
  const name = rawSpaces(path);
  if (type === DIRECTORY) return `${name}/\t\n`;
  if (payload === "-" || type === 0) return `${name}\n`;
  return `${name}\t${type === SYMLINK ? "->" : "@"} ${payload}\n`;
}

/** Paths have escapes as in dumps, but spaces as they are. */
function rawSpaces(path: string): string {
  return path.includes("\\x20")
    ? path.replace(/\\(?:x20|[^])/g, (escape) => (escape === "\\x20" ? " " : escape))
    : path;
}
