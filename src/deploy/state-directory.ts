// The state directory of a deployment (docs/spec/deployments.md, sections 2.1 and 4.3, step 4): its `/etc`, the link to the shared `/var`,
// and the origin that says which image it came from.

import { chmodSync, closeSync, constants, lstatSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories, writeDurably } from "../boot/change/durable.ts";
import type { BootVolume } from "../boot/change/volume.ts";
import { systemError } from "../error.ts";
import { syscalls } from "../runtime/syscalls.ts";
import type { XattrChoice } from "./carried-xattrs.ts";
import type { DeploymentImage } from "./deployment-image.ts";
import { type HostImage, originReference } from "./image-reference.ts";
import type { SysrootLocation } from "./location.ts";
import { type OpenSysroot, STATE_DIRECTORY } from "./open-sysroot.ts";
import {
  BOOT_DIGEST,
  BOOT_TYPE,
  IMAGE_REFERENCE,
  MANIFEST_DIGEST,
  type OriginEntry,
  parseOrigin,
  withOriginEntries,
  writeOrigin,
} from "./origin.ts";
import { removeTrees } from "./remove-tree.ts";
import { rootDirectory, seedDirectory, type SeedOptions } from "./seed.ts";
import type { Digest } from "../oci/digest.ts";
import { readText } from "./sysroot-files.ts";

/** Options of {@link writeStateDirectory}. */
export interface StateOptions extends MetadataOptions {
  /** The deployment whose `/var` is shared; that of the stateroot that the sysroot was located with when left out. */
  readonly base?: string | undefined;
}

/** What of the metadata of `/etc` and `/var` is written. */
export interface MetadataOptions {
  /** `full` needs root; what this process can when left out. */
  readonly owner?: "full" | "ignore" | undefined;
  /** `full` needs root; what this process can when left out. */
  readonly xattrs?: XattrChoice | undefined;
}

/** The options with nothing left open: everything as root, what users can otherwise. */
export function metadataOptions({ owner, xattrs }: MetadataOptions): { owners: boolean; xattrs: XattrChoice } {
  const isRoot = process.getuid?.() === 0;
  const owners = (owner ?? (isRoot ? "full" : "ignore")) === "full";
  return { owners, xattrs: xattrs ?? (isRoot ? "full" : "user") };
}

/** The state directory of a deployment, below the sysroot. */
export function statePath(id: string): string {
  return `${STATE_DIRECTORY}/${id}`;
}

/** The text of the origin of a new deployment. @throws ComposefsError with the reason `E_ORIGIN_VALUE` */
export function newOrigin(reference: HostImage, { boot, bootDigest, manifest }: DeploymentImage): string {
  const entries: OriginEntry[] = [
    [...IMAGE_REFERENCE, originReference(reference)],
    [...BOOT_TYPE, boot.kind],
    [...BOOT_DIGEST, bootDigest],
    [...MANIFEST_DIGEST, manifest],
  ];
  return writeOrigin(withOriginEntries(new Map(), entries));
}

/**
 * Makes the state directory of a deployment that is in no menu; one that is there is replaced. `/var` of the stateroot is filled only when
 * it is new or empty. Durable afterwards.
 *
 * @throws ComposefsError as `seedDirectory`
 */
export async function writeStateDirectory(
  sysroot: OpenSysroot,
  image: DeploymentImage,
  origin: string,
  options: StateOptions,
): Promise<void> {
  const { location, repository, signal, root } = sysroot;
  const name = sharedStateroot(location, options.base);
  const seed = { ...metadataOptions(options), signal };
  const directory = join(location.sysroot, statePath(image.id));
  removeStateDirectory(root, image.id);
  openDirectory(directory);
  await seedDirectory(repository, rootDirectory(image.tree, "etc"), directory, "etc", seed);
  removeUpdated(sysroot, image.id);
  await seedVar(sysroot, name, image, seed);
  attempt(`making ${directory}/var`, directory, () => symlinkSync(`../../os/${name}/var`, join(directory, "var")));
  await writeDurably(root, `${statePath(image.id)}/${image.id}.origin`, [Buffer.from(origin)], signal);
  attempt(`making ${directory} durable`, directory, () => chmodSync(join(directory, `${image.id}.origin`), 0o644));
  syncSysroot(sysroot);
}

// An update goes on with the data of its base, also when nobody says again what the stateroot is called.
function sharedStateroot({ sysroot, stateroot }: SysrootLocation, base: string | undefined): string {
  if (stateroot !== "default" || base === undefined) return stateroot;
  const link = join(sysroot, statePath(base), "var");
  const target = lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true ? readlinkSync(link) : "";
  const name = /^\.\.\/\.\.\/os\/([^/]+)\/var$/.exec(target)?.[1];
  return name === undefined || name === "." || name === ".." ? stateroot : name;
}

/** Removes `.updated` from the `/etc` of a deployment, so that what is to run after an update does run. */
export function removeUpdated({ location: { sysroot } }: OpenSysroot, id: string): void {
  const path = join(sysroot, statePath(id), "etc/.updated");
  attempt(`removing ${path}`, path, () => rmSync(path, { force: true }));
}

/** What `/var` is called until it is complete: one that was cut must not be taken for one that is in use. */
const NEW_VAR = ".composefs-var";

async function seedVar(
  { location, repository, root }: OpenSysroot,
  name: string,
  { tree }: DeploymentImage,
  seed: SeedOptions,
): Promise<void> {
  const stateroot = join(location.sysroot, "state/os", name);
  const path = join(stateroot, "var");
  if (attempt(`reading ${path}`, path, () => isFilled(path))) return;
  makeDirectories(root, "state/os");
  openDirectory(stateroot);
  removeTrees(stateroot, (entry) => entry === NEW_VAR);
  const source = rootDirectory(tree, "var");
  await seedDirectory(repository, source, stateroot, NEW_VAR, seed);
  // Before it has its name: what is not empty is never filled again.
  syncFileSystem(stateroot);
  try {
    renameSync(join(stateroot, NEW_VAR), path);
  } catch (error) {
    // A file system of its own is mounted there.
    if ((error as { code?: unknown }).code !== "EBUSY") throw systemError(error, `making ${path}`, path);
    removeTrees(stateroot, (entry) => entry === NEW_VAR);
    await seedDirectory(repository, source, stateroot, "var", seed);
    syncFileSystem(path);
  }
}

function isFilled(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat !== undefined && (!stat.isDirectory() || readdirSync(path).length > 0);
}

// With the usual mode whatever the umask is: users look into it.
function openDirectory(path: string): void {
  attempt(`making ${path}`, path, () => {
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
  });
}

/** Makes everything that was written to the sysroot's file system durable. */
export function syncSysroot({ location: { sysroot } }: OpenSysroot): void {
  syncFileSystem(join(sysroot, STATE_DIRECTORY));
}

function syncFileSystem(path: string): void {
  attempt(`making ${path} durable`, path, () => {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      syscalls().syncfs(fd, path);
    } finally {
      closeSync(fd);
    }
  });
}

function attempt<T>(action: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw systemError(error, action, path);
  }
}

/** Changes the reference and the manifest in the origin of a deployment; the rest of it stays. */
export async function rewriteOrigin(
  { location, root, signal }: OpenSysroot,
  id: string,
  reference: HostImage,
  manifest: Digest,
): Promise<void> {
  const path = `${statePath(id)}/${id}.origin`;
  const full = join(location.sysroot, path);
  const origin = withOriginEntries(parseOrigin(readText(full) ?? "", full), [
    [...IMAGE_REFERENCE, originReference(reference)],
    [...MANIFEST_DIGEST, manifest],
  ]);
  await writeDurably(root, path, [Buffer.from(writeOrigin(origin))], signal);
}

/** Removes the state directory of a deployment that is in no menu. */
export function removeStateDirectory(volume: BootVolume, id: string): void {
  removeTrees(join(volume.root, STATE_DIRECTORY), (name) => name === id);
  volume.sync(STATE_DIRECTORY);
}
