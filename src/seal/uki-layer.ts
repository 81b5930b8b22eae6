// The layer that puts a UKI into an image (docs/spec/oci.md, section 5; boot.md, section 6): the file, directories above it that are
// missing, and whiteouts of UKIs that it replaces. All of it lies below /boot, whose content never changes the boot id.

import type { BootResource } from "../boot/resource.ts";
import { lookupError } from "../boot/tree-file.ts";
import { type ByteString, displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import type { NewTarEntry, TarContent } from "../oci/tar-write.ts";
import { pathComponents } from "../tree/lookup.ts";
import { Directory, NO_XATTRS, type Node, type Stat } from "../tree/node.ts";

/** A file for the image. */
export interface BootFileToAdd {
  /** Absolute, below /boot. */
  readonly path: string;
  readonly content: TarContent;
}

/**
 * Where the addons of a UKI go: `UKI.extra.d/NAME.addon.efi`.
 *
 * @throws ComposefsError `usage` for names that are none, and names given twice
 */
export function addonPaths(ukiPath: string, addons: readonly { readonly name: string }[]): string[] {
  const seen = new Set<string>();
  for (const { name } of addons) {
    // oxlint-disable-next-line no-control-regex -- control characters are what is refused
    const isName = /^[^/\u0000-\u001f\u007f]{1,200}$/.test(name) && !name.startsWith(".");
    if (isName && !seen.has(name)) seen.add(name);
    else {
      const why = isName ? "it is given twice" : "it becomes the name of a file";
      throw new ComposefsError("usage", `an addon cannot be called ${JSON.stringify(name)}: ${why}`);
    }
  }
  return addons.map(({ name }) => `${ukiPath}.extra.d/${name}.addon.efi`);
}

/**
 * Checks where a UKI is to go, and that the image has no other one.
 *
 * @param replace whether other UKIs below /boot may go
 * @returns paths to remove: other UKIs, and all of their addons and its own
 * @throws ComposefsError `usage` for a path outside of /boot or of another form; `exists` for another UKI
 */
export function checkPlace(path: string, resources: readonly BootResource[], replace: boolean): ByteString[] {
  const parts = path.split("/");
  const isClean = parts[0] === "" && parts.slice(1).every((part) => part !== "" && part !== "." && part !== "..");
  const fail = (why: string) =>
    new ComposefsError("usage", `a UKI cannot be put at ${path}: ${why}`, {
      path,
      hint: "take a path like /boot/EFI/Linux/VERSION.efi",
    });
  if (!isClean || parts.length < 3 || path.includes("\0")) throw fail("it is no clean absolute path of a file");
  if (parts[1] !== "boot") throw fail("outside of /boot it would change the digest that it holds");
  if (!path.endsWith(".efi") || path.endsWith(".addon.efi")) throw fail("nothing would take it for a UKI");
  const own = utf8ByteString(path);
  const others = resources.filter((one) => one.kind === "type2" && one.type === "uki" && one.file.path !== own);
  const removed: ByteString[] = [];
  for (const other of others) {
    if (other.kind !== "type2") continue;
    const shown = displayBytes(other.file.path);
    if (!other.file.path.startsWith("/boot/")) {
      throw new ComposefsError("exists", `the image has a UKI already, ${shown}`, {
        path: shown,
        hint: "remove it from the image: what lies outside of /boot is a part of the digest",
      });
    }
    if (!replace) {
      throw new ComposefsError("exists", `the image has a UKI already, ${shown}`, {
        path: shown,
        hint: "let the new one take its place with --replace, or give --uki-path with its path",
      });
    }
    removed.push(other.file.path);
  }
  if (!replace) return removed;
  const homes = new Set([own, ...removed].map((uki) => `${uki}.extra.d/`));
  const stale = resources.flatMap((one) => (one.kind === "type2" && one.type === "addon" ? [one.file.path] : []));
  return [...removed, ...stale.filter((addon) => [...homes].some((home) => addon.startsWith(home)))];
}

/**
 * The entries of the layer.
 *
 * @param tree the image with its /boot
 * @param removed files to remove
 * @throws ComposefsError `invalid` when a directory of a path is something else in the image
 */
export function ukiLayer(
  tree: Directory,
  files: readonly BootFileToAdd[],
  removed: readonly ByteString[] = [],
): NewTarEntry[] {
  // No clock: the time of the image's own /usr.
  const time = { mtimeSec: tree.stat.mtimeSec, mtimeNsec: tree.stat.mtimeNsec };
  const stat = (mode: number): Stat => ({ mode, uid: 0, gid: 0, ...time, xattrs: NO_XATTRS });
  const entries: NewTarEntry[] = removed.map((path) => {
    const components = pathComponents(path);
    const name = components.pop() as ByteString;
    return { path: [...components, `.wh.${name}`].join("/"), type: "file", stat: stat(0o644) };
  });
  const made = new Set<ByteString>();
  for (const { path, content } of files) {
    const components = pathComponents(utf8ByteString(path));
    let directory: Directory | undefined = tree;
    for (const [index, name] of components.slice(0, -1).entries()) {
      const above = components.slice(0, index + 1).join("/");
      const node: Node | undefined = directory?.entries.get(name);
      if (node !== undefined && !(node instanceof Directory)) throw lookupError("not-a-directory", `/${above}`);
      directory = node;
      if (node !== undefined || made.has(above)) continue;
      made.add(above);
      entries.push({ path: above, type: "directory", stat: stat(0o755) });
    }
    const last = directory?.entries.get(components.at(-1) as ByteString);
    if (last instanceof Directory) throw lookupError("is-a-directory", utf8ByteString(path));
    entries.push({ path: components.join("/"), type: "file", stat: stat(0o644), content });
  }
  return entries;
}
