// Finds the stores to search (docs/spec/containers-storage.md, section 1).

import { readdirSync, statSync } from "node:fs";

import { ComposefsError, systemError } from "../../../error.ts";
import { errnoOf, storageError } from "./fault.ts";
import { processEnvironment, storageCandidates, type StorageEnvironment } from "./storage-conf.ts";
import { otherDriver } from "./storage-reference.ts";

/** Which stores to use instead of those that are found. */
export interface StoreSelection {
  /** The one store to search, with those of `additional`; found by configuration and default places when left out. */
  readonly root?: string | undefined;
  /** Stores that are searched after it. */
  readonly additional?: readonly string[] | undefined;
}

const DIRECTORIES = ["overlay", "overlay-layers", "overlay-images"];

/**
 * The roots of the stores to search, in order.
 *
 * @throws ComposefsError `not-found` (`no-store`) that says why each place is none, `unsupported` (`driver`) when there are only stores
 *   of another driver
 */
export async function findStores(
  selection: StoreSelection = {},
  environment: StorageEnvironment = processEnvironment(),
): Promise<string[]> {
  if (process.platform !== "linux") {
    throw new ComposefsError("unsupported", "container stores can be read on Linux only", {
      hint: "write the image to an archive with `podman save` and pull docker-archive:FILE",
    });
  }
  const { root, additional = [] } = selection;
  if (root !== undefined) {
    for (const store of [root, ...additional]) mustBeStore(store);
    return [root, ...additional];
  }
  const candidates = await storageCandidates(environment);
  const roots = [...new Set([...candidates.roots, ...additional])];
  const found: string[] = [];
  const skipped: string[] = [];
  let foreign = candidates.otherDriver;
  for (const place of roots) {
    const look = lookAt(place);
    if (look.kind === "store") found.push(place);
    else if (look.kind === "driver") foreign ??= { driver: look.driver, root: place };
    if (look.kind !== "store") skipped.push(`${place} (${look.why})`);
  }
  if (found.length > 0) return found;
  if (foreign !== undefined) throw otherDriver(foreign.driver, `the container store ${foreign.root}`);
  const conf = candidates.configFile === undefined ? "no storage.conf was found" : `read ${candidates.configFile}`;
  throw storageError("no-store", `there is no container store; looked in ${skipped.join(", ")}; ${conf}`, {
    hint: "name its directory with --storage-root, or run the command as the user whose images `podman images` lists",
  });
}

type Look =
  | { readonly kind: "store" }
  | { readonly kind: "driver"; readonly driver: string; readonly why: string }
  | { readonly kind: "none"; readonly why: string };

function lookAt(root: string): Look {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch (error) {
    const errno = errnoOf(error) ?? "";
    const why = { ENOENT: "does not exist", ENOTDIR: "is no directory", EACCES: "not permitted" }[errno] ?? errno;
    return { kind: "none", why };
  }
  const missing = DIRECTORIES.filter((name) => !isDirectory(`${root}/${name}`));
  if (missing.length === 0) return { kind: "store" };
  const other = names.find((name) => name.endsWith("-images") && name !== "overlay-images");
  if (other === undefined) return { kind: "none", why: `has no directory ${missing[0]}` };
  const driver = other.slice(0, -"-images".length);
  return { kind: "driver", driver, why: `uses the driver ${driver}` };
}

function mustBeStore(root: string): void {
  const look = lookAt(root);
  if (look.kind === "store") return;
  if (look.kind === "driver") throw otherDriver(look.driver, `the container store ${root}`);
  throw storageError("no-store", `${root} is no container store: it ${look.why}`, {
    path: root,
    hint: "name the directory that `podman info --format {{.Store.GraphRoot}}` prints",
  });
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return false;
    throw systemError(error, "looking at a container store", path);
  }
}
