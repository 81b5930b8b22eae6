// From a reference to an opened source. Transports are added here, and nowhere else.

import { stat } from "node:fs/promises";

import type { ProgressListener } from "../../progress.ts";
import {
  archiveNameSplits,
  layoutNameSplits,
  parseReference,
  type ImageReference,
  type LayoutName,
} from "../reference.ts";
import type { RegistryOptions } from "../registry/requests.ts";
import type { StoreSelection } from "./containers-storage/discover.ts";
import { DirectorySource } from "./directory.ts";
import { DockerArchiveSource } from "./docker-archive.ts";
import { isLayout, LayoutSource } from "./layout.ts";
import { OciArchiveSource } from "./oci-archive.ts";
import type { ImageSource } from "./source.ts";

/** Options of {@link openSource}. */
export interface OpenSourceOptions {
  /** Receives warnings about the source. */
  onProgress?: ProgressListener | undefined;
  signal?: AbortSignal | undefined;
  /** How to reach a registry; the defaults of {@link RegistryOptions} when left out. */
  registry?: RegistryOptions | undefined;
  /** Which container store to search; found by its configuration when left out. */
  storage?: StoreSelection | undefined;
}

/**
 * Opens the source that a reference names. Close it with `await using` or by disposing of it.
 *
 * @example
 * ```ts
 * await using source = await openSource("oci:./image:v1");
 * const { digest } = await source.resolve();
 * ```
 * @throws ComposefsError `invalid` for a bad reference, `not-found` when there is nothing
 */
export async function openSource(
  reference: string | ImageReference,
  options: OpenSourceOptions = {},
): Promise<ImageSource> {
  const parsed = typeof reference === "string" ? parseReference(reference) : reference;
  switch (parsed.transport) {
    case "oci": {
      const { path, tag } = await firstSplit(layoutNameSplits(parsed.name), isLayout);
      return LayoutSource.open(path, tag, options.onProgress);
    }
    case "oci-archive": {
      const { path, tag } = await firstSplit(layoutNameSplits(parsed.name), isFile);
      return OciArchiveSource.open(path, tag, options);
    }
    case "docker-archive": {
      const { path, tag } = await firstSplit(archiveNameSplits(parsed.name), isFile);
      return DockerArchiveSource.open(path, tag, options.signal);
    }
    case "docker": {
      // Loaded only here: nothing but a pull from a registry needs what speaks HTTP.
      const { RegistrySource } = await import("./registry.ts");
      return new RegistrySource(parsed.name, { onProgress: options.onProgress, ...options.registry });
    }
    case "docker-daemon": {
      const { openDaemonImage } = await import("./docker-daemon.ts");
      return openDaemonImage(parsed.name, options);
    }
    case "containers-storage": {
      const { ContainersStorageSource } = await import("./containers-storage/source.ts");
      return ContainersStorageSource.open(parsed.name, options.storage);
    }
    default:
      return DirectorySource.open(parsed.path);
  }
}

/** The first split whose path is there; the textual rule's where none is, so that the error speaks of that. */
async function firstSplit(
  splits: readonly LayoutName[],
  isThere: (path: string) => Promise<boolean>,
): Promise<LayoutName> {
  for (const split of splits) {
    if (await isThere(split.path)) return split;
  }
  return splits[0] as LayoutName;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
