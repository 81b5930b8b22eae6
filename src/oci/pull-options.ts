// What a pull is told and what it tells (docs/spec/oci.md, section 6).

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import type { ProgressListener } from "../progress.ts";
import type { BootImage } from "./boot-images.ts";
import type { ImageOfVersion } from "./commit.ts";
import type { Digest } from "./digest.ts";
import type { ObjectCounts } from "./layer/split.ts";
import type { LocalFetch } from "./layer/zero-copy.ts";
import type { Platform } from "./platform.ts";
import type { RegistryOptions } from "./registry/requests.ts";
import type { StoreSelection } from "./source/containers-storage/discover.ts";

/** Options of `pull`. */
export interface PullOptions {
  /** Name to tag the image with, or made from the digest of the manifest as it is stored; the reference itself when left out. */
  tag?: string | ((manifest: Digest) => string) | undefined;
  /** Which image to take from an index; the host's when left out. */
  platform?: Platform | undefined;
  /** Layers imported at once; as many as there are processors, at most 4, when left out. */
  jobs?: number | undefined;
  /** Format versions to build instead of the repository's. */
  formats?: readonly FormatVersion[] | undefined;
  /** Build boot images too, in the same formats. */
  bootable?: boolean | undefined;
  /**
   * Instead of those, find the boot image that has this id, whatever mode of xattrs and format it was made with. Needs `bootable`.
   */
  expectedDigest?: ObjectId | undefined;
  /** Keep the layers in their compressed form too, so that the image can leave with the manifest that it has now. */
  keepCompressed?: boolean | undefined;
  /** Fetch layers whole, also where the repository has files of them and the rest could be fetched alone. */
  wholeLayers?: boolean | undefined;
  /** How to reach a registry, for references that name one. */
  registry?: RegistryOptions | undefined;
  /** Which container store to search, for references that begin with `containers-storage:`; found by its configuration when left out. */
  storage?: StoreSelection | undefined;
  /**
   * Whether contents may be shared with a source that has them as files, a container store: `auto` when left out. With `zerocopy` every
   * other source is refused.
   */
  localFetch?: LocalFetch | undefined;
  /** Called when it is known how many bytes, compressed, the layers have that are not there; what it throws ends the pull. */
  beforeImport?: ((missingBytes: number) => void) | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ProgressListener | undefined;
}

/** Counts of a pull: objects of the layers imported now. */
export interface PullStats extends ObjectCounts {
  /** Layers imported. */
  importedLayers: number;
  /** Layers that were there already. */
  skippedLayers: number;
  /** Compressed bytes of the imported layers that were not fetched, because the repository had the files. */
  sparedBytes: number;
}

/** What a pull did. */
export interface PullResult {
  /** Digest of the manifest as stored. */
  manifestDigest: Digest;
  /** Digest of the Docker manifest that the stored one was made from. */
  sourceManifestDigest: Digest | undefined;
  configDigest: Digest;
  /** Object id of the manifest's stream, as linked. */
  verity: ObjectId;
  tag: string;
  isContainer: boolean;
  /** The EROFS images in the order of the formats; empty for artifacts. */
  images: readonly ImageOfVersion[];
  /** The boot images, if they were asked for. */
  bootImages: readonly BootImage[];
  stats: PullStats;
}
