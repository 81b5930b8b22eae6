// The state of a sysroot as plain data (docs/spec/deployments.md, sections 2 and 10): what the planners are given. Texts are as they stand
// in the files; nothing in here has been judged yet.

import type { Algorithm } from "../bytes/algorithm.ts";
import type { BootLoader } from "../boot/entry/order.ts";
import type { ImageConfig } from "../oci/config.ts";
import type { Digest } from "../oci/digest.ts";
import type { Manifest } from "../oci/manifest.ts";

/** Name and text of a file. */
export type NamedText = readonly [name: string, text: string];

/** The boot menu on the disk. */
export interface BootFiles {
  /** The `.conf` files of `loader/entries`, in any order. */
  readonly entries: readonly NamedText[];
  /** Those of `loader/entries.staged`; undefined when there is no such directory. */
  readonly entriesStaged?: readonly NamedText[] | undefined;
  /** Text of `user.cfg`. Where GRUB has one, it does not look at entries. */
  readonly userCfg?: string | undefined;
  /** Text of `user.cfg.staged`. */
  readonly userCfgStaged?: string | undefined;
}

/** One directory in `state/deploy`. */
export interface StateDirectory {
  /** Text of `<id>.origin`; undefined when the file is missing. */
  readonly origin?: string | undefined;
  /** Text of `<id>.imginfo`, which old versions of bootc wrote. */
  readonly imginfo?: string | undefined;
  /** Text of `<id>.update`: what the last check for updates found. */
  readonly update?: string | undefined;
}

/** Manifest and config of an image, from the repository. */
export interface ImageDocuments {
  readonly manifest: Manifest;
  /** Undefined for an artifact, whose config is none of an image. */
  readonly config?: ImageConfig | undefined;
}

/** What the overlay on `/usr` of a running system allows. */
export interface UsrOverlay {
  readonly accessMode: "readOnly" | "readWrite";
  readonly persistence: "transient" | "persistent";
}

/** What status, upgrade, switch, rollback and delete are decided on. */
export interface SysrootState {
  readonly bootloader: BootLoader;
  /** Hash of the repository; any hash in a `composefs.digest` argument is taken when it is undefined. */
  readonly algorithm?: Algorithm | undefined;
  /** The deployment that is running; undefined offline, when the sysroot is that of no running system. */
  readonly bootedId?: string | undefined;
  /** Whether the repository does without fs-verity. */
  readonly missingVerityAllowed: boolean;
  /** Whether the SELinux policies allow a soft reboot: to all, or by deployment id; true when left out. */
  readonly selinuxCompatible?: boolean | ReadonlyMap<string, boolean> | undefined;
  /** The command lines inside UKIs, by the name of their artifact, as far as they were read. */
  readonly ukiCommandLines?: ReadonlyMap<string, string> | undefined;
  /** What lies over `/usr` of the running system; nothing when left out. */
  readonly usrOverlay?: UsrOverlay | undefined;
  /** Whether the sysroot lies on a device that cannot be written; false when left out. */
  readonly readOnly?: boolean | undefined;
  readonly boot: BootFiles;
  /** Text of the staged deployment file; undefined when there is none. */
  readonly stagedDeployment?: string | undefined;
  /** The directories in `state/deploy`, by deployment id. */
  readonly state: ReadonlyMap<string, StateDirectory>;
  /** Images whose manifest is in the repository; at least those that an origin names. */
  readonly images: ReadonlyMap<Digest, ImageDocuments>;
}

/** Codes of warnings (docs/spec/deployments.md, section 9). */
export type WarningCode =
  | "W_BAD_BOOT_ENTRY"
  | "W_ORPHAN_BOOT_ENTRY"
  | "W_NO_ORIGIN"
  | "W_BAD_ORIGIN"
  | "W_BAD_BOOT_TYPE"
  | "W_BAD_IMGREF"
  | "W_BAD_MANIFEST_DIGEST"
  | "W_MANIFEST_MISSING"
  | "W_BAD_IMGINFO"
  | "W_NO_IMAGE_INFO"
  | "W_BAD_STAGED_FILE"
  | "W_STALE_STAGED_ENTRY"
  | "W_STAGED_WITHOUT_ENTRY"
  | "W_BOOTED_NOT_FOUND"
  | "W_NO_MANIFEST"
  | "W_DANGLING_TAG";

/** What is damaged or left over in a sysroot without keeping the rest from working. */
export interface DeployWarning {
  readonly code: WarningCode;
  /** The deployment concerned. */
  readonly id?: string;
  /** The file of a boot entry. */
  readonly file?: string;
  readonly tag?: string;
  readonly manifest?: Digest;
  /** The reason of the error underneath, such as `E_ORIGIN_SYNTAX`. */
  readonly reason?: string;
}

/** Whether a text may be a deployment id: ids are components of paths, and come from files that anybody may have written. */
export function isDeploymentId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,255}$/.test(text) && text !== "." && text !== "..";
}

/** Whether a text is the digest of a manifest as an origin file must have it: lower-case hex, an algorithm that can be verified. */
export function isManifestDigest(text: string): text is Digest {
  return /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/.test(text);
}
