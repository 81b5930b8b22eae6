// What the garbage collection looks at besides the state of a sysroot (docs/spec/deployments.md, section 4.8), as plain data.

import type { Digest } from "../oci/digest.ts";

/** An image of the repository: what its manifest keeps alive. */
export interface StoredManifest {
  readonly config: Digest;
  /** Digests of the uncompressed layers. */
  readonly layers: readonly Digest[];
  /** Ids of the EROFS images that the config refers to. */
  readonly images: readonly string[];
}

/** The repository, as far as deployments own a part of it. */
export interface GcRepository {
  /** The manifest that each tag names, whether it is there or not. */
  readonly tags: ReadonlyMap<string, Digest>;
  readonly manifests: ReadonlyMap<Digest, StoredManifest>;
  /** Ids of the images that have a link. */
  readonly images: ReadonlySet<string>;
}

/** An image of the container storage that bootc owns. */
export interface StorageImage {
  readonly id: string;
  readonly names: readonly string[];
}

/** Boot files and container storage of a sysroot. */
export interface GcFiles {
  /** Names of the directories where those of kernels lie: `/boot` for GRUB, `EFI/Linux` of the ESP otherwise. */
  readonly kernelDirectories: readonly string[];
  /** Names in `EFI/Linux/bootc` of the ESP. */
  readonly ukiFiles: readonly string[];
  /** Undefined when there is no owned container storage. */
  readonly containerStorage?: readonly StorageImage[] | undefined;
  /** Names of the images that the image of a deployment is bound to, by its id. */
  readonly boundImages?: ReadonlyMap<string, readonly string[]> | undefined;
}

/** What to collect. */
export interface GcOptions {
  /** Also state directories, tags and the repository; boot files alone when false. True when left out. */
  readonly pruneRepository?: boolean | undefined;
  /** Also entries whose state directory is missing. */
  readonly pruneBootEntries?: boolean | undefined;
  /** Offline: go on although no entry can be read, and so nothing is live. */
  readonly allowEmpty?: boolean | undefined;
}

/** What is in the repository after a collection; lists are sorted. */
export interface RepositoryContent {
  readonly manifests: readonly Digest[];
  readonly configs: readonly Digest[];
  readonly layers: readonly Digest[];
  /** Ids. */
  readonly images: readonly string[];
}
