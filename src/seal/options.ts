// What can be said about sealing, and what it answers.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import type { Digest } from "../oci/digest.ts";
import type { Platform } from "../oci/platform.ts";
import type { ProgressListener } from "../progress.ts";
import type { XattrMode } from "../tree/xattr-filter.ts";
import type { ChosenParts, GivenParts } from "./parts.ts";
import type { SigningCommand } from "./sign.ts";

/** Kernel arguments that the firmware's user adds by putting a file beside the UKI. */
export interface SealAddon {
  /** Its file is called `NAME.addon.efi`. */
  readonly name: string;
  readonly commandLine: string;
}

/** Options of `sealImage`; all of them have defaults. */
export interface SealOptions extends GivenParts {
  /** Hash of the digest for images that are not in a repository; sha512 when left out. */
  readonly algorithm?: Algorithm | undefined;
  /** Format of the image that is booted; 2 when left out, the one that bootc boots. */
  readonly version?: FormatVersion | undefined;
  /** Which xattrs the image keeps; `allowlist-only` when left out. */
  readonly xattrs?: XattrMode | undefined;
  /** Let the image boot where the file system has no fs-verity: a `?` before the digest. */
  readonly allowMissingVerity?: boolean | undefined;
  /** More kernel arguments. */
  readonly kernelArguments?: readonly string[] | undefined;
  /** Addons for the UKI, beside it. */
  readonly addons?: readonly SealAddon[] | undefined;
  /** Signs the UKI and its addons; unsigned when left out. */
  readonly sign?: SigningCommand | undefined;
  /** Where the UKI goes; `/boot/EFI/Linux/VERSION.efi` when left out. */
  readonly ukiPath?: string | undefined;
  /** Remove other UKIs below /boot. */
  readonly replace?: boolean | undefined;
  /** Which image of an index; the processor of a directory's image. */
  readonly platform?: Platform | undefined;
  /** Where temporary files go, as large as the image; the system's place when left out. */
  readonly temporaryDirectory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What will be sealed, and how: all that is known before the UKI exists. */
export interface SealPlan {
  readonly algorithm: Algorithm;
  readonly version: FormatVersion;
  /** The image that the UKI will boot. */
  readonly bootId: ObjectId;
  readonly kernelVersion: string;
  readonly commandLine: string;
  readonly parts: ChosenParts;
  /** Where the UKI goes in the image. */
  readonly ukiPath: string;
  /** Size of the UKI in bytes, without signatures. */
  readonly ukiSize: number;
  /** Paths of its addons in the image. */
  readonly addonPaths: readonly string[];
  /** UKIs that it replaces, and their addons. */
  readonly replaced: readonly string[];
  readonly warnings: readonly string[];
}

/** What `sealImage` made. */
export interface SealResult extends SealPlan {
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  /** The image without the boot transform: what the config's label says. */
  readonly imageId: ObjectId;
  /** Size in bytes with signatures. */
  readonly ukiSize: number;
  readonly signed: boolean;
}
