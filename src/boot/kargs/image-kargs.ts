// The kernel arguments of an image, `usr/lib/bootc/kargs.d`, read out of its tree (docs/spec/boot.md, section 7.5).

import type { Directory } from "../../tree/node.ts";
import { kernelArchitecture } from "../processors.ts";
import type { ReadFile } from "../resource.ts";
import { findDirectory, readText, regularFile } from "../tree-file.ts";
import { imageKargs, KARGS_DIRECTORY, type KargsFile } from "./kargs-d.ts";

/** Largest file of kargs.d in bytes. */
const KARGS_LIMIT = 1 << 20;

/**
 * Reads `kargs.d` of an image.
 *
 * @param architecture as the config of the image has it: `amd64`
 * @throws ComposefsError `invalid` naming file and line
 */
export async function readImageKargs(tree: Directory, readFile: ReadFile, architecture: string): Promise<string> {
  const directory = findDirectory(tree, KARGS_DIRECTORY);
  const files: KargsFile[] = [];
  for (const [name, node] of directory?.entries ?? []) {
    if (!name.endsWith(".toml")) continue;
    const file = regularFile(node, `/${KARGS_DIRECTORY}/${name}`);
    files.push({ name, text: await readText(file, readFile, KARGS_LIMIT) });
  }
  return imageKargs(files, kernelArchitecture(architecture));
}
