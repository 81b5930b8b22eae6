// Finds what an image can be booted with (docs/spec/boot.md, section 6): boot loader entries, UKIs and addons, plain kernels, in the
// order in which they count. The first one decides how the image boots.

import { type ByteString, compareBytes, displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { Directory, type Node } from "../tree/node.ts";
import { entryLineValue, splitEntryLines } from "./entry/lines.ts";
import type { BootFile, BootResource, EntryResource, KernelResource, PeResource, ReadFile } from "./resource.ts";
import { findDirectory, findNode, isRegularFile, lookupError, readText, regularFile } from "./tree-file.ts";

const ENTRIES = "/boot/loader/entries";
const UKIS = "/boot/EFI/Linux";
const ADDONS = "/boot/loader/addons";
const MODULES = "/usr/lib/modules";

/** Largest entry file in bytes; real ones have some hundred. */
const ENTRY_LIMIT = 1 << 20;

/**
 * Finds the boot resources of a tree.
 *
 * @param readFile reads the body of an entry file, which has at most 1 MiB
 * @throws ComposefsError `invalid` whose message names the path, or the entry file and line; `reason` is `not-found`, `not-regular`,
 *   `is-a-directory`, `not-a-directory`, `invalid-name` or `not-utf8`
 * @example
 * ```ts
 * const [first] = await discoverBootResources(tree, (file) => repository.readObject(file.leaf.content.digest));
 * ```
 */
export async function discoverBootResources(root: Directory, readFile: ReadFile): Promise<BootResource[]> {
  const resources: BootResource[] = await entries(root, readFile);
  resources.push(...scanPe(findDirectory(root, UKIS), UKIS, "addon"));
  resources.push(...scanPe(findDirectory(root, ADDONS), ADDONS, "global-addon"));
  const modules = findDirectory(root, MODULES);
  const kernels = modules === undefined ? [] : sorted(modules).filter(([, node]) => node instanceof Directory);
  for (const [name, node] of kernels) resources.push(...scanPe(node as Directory, `${MODULES}/${name}`, "addon", name));
  for (const [name, node] of kernels) {
    const kernel = plainKernel(root, name, node as Directory);
    if (kernel !== undefined) resources.push(kernel);
  }
  return resources;
}

function sorted(directory: Directory): [ByteString, Node][] {
  return [...directory.entries].sort(([a], [b]) => compareBytes(a, b));
}

async function entries(root: Directory, readFile: ReadFile): Promise<EntryResource[]> {
  const directory = findDirectory(root, ENTRIES);
  const found: EntryResource[] = [];
  if (directory === undefined) return found;
  for (const [filename, node] of sorted(directory)) {
    if (!filename.endsWith(".conf")) continue;
    const file = regularFile(node, `${ENTRIES}/${filename}`);
    const lines = splitEntryLines(await readText(file, readFile, ENTRY_LIMIT));
    found.push({ kind: "type1", filename, lines, files: entryFiles(root, file, lines) });
  }
  return found;
}

/** The files that an entry names: all of one key, then those of the next. */
function entryFiles(root: Directory, entry: BootFile, lines: readonly string[]): Map<string, BootFile> {
  const files = new Map<string, BootFile>();
  for (const key of ["linux", "initrd", "efi"]) {
    for (const [index, line] of lines.entries()) {
      const value = entryLineValue(line, key);
      if (value === undefined || files.has(value)) continue;
      try {
        files.set(value, namedFile(root, value));
      } catch (error) {
        if (!(error instanceof ComposefsError)) throw error;
        const path = displayBytes(entry.path);
        throw new ComposefsError(
          error.code,
          `${path}, line ${index + 1}: ${key} ${JSON.stringify(value)}: ${error.message}`,
          {
            path,
            line: index + 1,
            cause: error,
            hint: "files in the entries of an image are looked up from the root of the image",
            ...(error.reason === undefined ? {} : { reason: error.reason }),
          },
        );
      }
    }
  }
  return files;
}

function namedFile(root: Directory, value: string): BootFile {
  const components = utf8ByteString(value)
    .split("/")
    .filter((part) => part !== "" && part !== ".");
  const path = `/${components.join("/")}`;
  if (components.length === 0) throw lookupError("invalid-name", path);
  return regularFile(findNode(root, path), path);
}

/** Every `.efi` file below a directory, in byte order of the paths' components. */
function scanPe(
  start: Directory | undefined,
  path: ByteString,
  addon: "addon" | "global-addon",
  kernel?: ByteString,
): PeResource[] {
  const found: PeResource[] = [];
  // A stack of its own: an image may be nested deeper than calls can be.
  const pending: [ByteString, Node][] = start === undefined ? [] : sorted(start).reverse();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [relative, node] = next;
    if (node instanceof Directory) {
      for (const [name, child] of sorted(node).reverse()) pending.push([`${relative}/${name}`, child]);
    } else if (relative.endsWith(".efi")) {
      const type = relative.endsWith(".addon.efi") ? addon : "uki";
      found.push({ kind: "type2", type, kernel, relative, file: regularFile(node, `${path}/${relative}`) });
    }
  }
  return found;
}

function plainKernel(root: Directory, name: ByteString, directory: Directory): KernelResource | undefined {
  const vmlinuz = directory.entries.get("vmlinuz");
  if (!isRegularFile(vmlinuz)) return undefined;
  const path = `${MODULES}/${name}`;
  const optional = (at: ByteString): BootFile | undefined => {
    const node = nodeIfReachable(root, at);
    return isRegularFile(node) ? { path: at, leaf: node } : undefined;
  };
  return {
    kind: "vmlinuz",
    kernel: utf8Name(name, path),
    vmlinuz: { path: `${path}/vmlinuz`, leaf: vmlinuz },
    initramfs: optional(`${path}/initramfs.img`),
    osRelease: optional("/usr/lib/os-release") ?? optional("/etc/os-release"),
  };
}

/** A node that nothing depends on: whatever is in its way, it is not there. */
function nodeIfReachable(root: Directory, path: ByteString): Node | undefined {
  try {
    return findNode(root, path);
  } catch {
    return undefined;
  }
}

function utf8Name(name: ByteString, path: ByteString): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(name, "latin1"));
  } catch (error) {
    const shown = displayBytes(path);
    throw new ComposefsError("invalid", `${shown}: the kernel version is not valid UTF-8`, {
      path: shown,
      reason: "not-utf8",
      cause: error,
    });
  }
}
