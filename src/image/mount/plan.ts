// What has to be mounted for an image, as data (docs/spec/erofs.md, section 7; docs/spec/cli-cfsctl.md, section 10.2).

import type { FormatVersion } from "../../core/erofs.ts";
import { ComposefsError } from "../../error.ts";

/** What is wanted. Paths are absolute. */
export interface MountRequest {
  /** Shown in the table of mounts: `composefs:<image id>`. */
  readonly source: string;
  readonly version: FormatVersion;
  /** The directories that redirects lead into, in the order in which they are searched. */
  readonly objects: readonly string[];
  /**
   * Refuse files whose object lacks fs-verity or has another digest, at every open; `if-possible`: unless the kernel is too
   * old to know the option.
   */
  readonly verity: boolean | "if-possible";
  /** The layer that takes changes. */
  readonly upper?: { readonly upperdir: string; readonly workdir: string } | undefined;
  readonly readWrite: boolean;
  /** Path of a user namespace whose ids the mount shows: `/proc/PID/ns/user`. */
  readonly userNamespace?: string | undefined;
}

/** A version of Linux. */
export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

/** The overlay to mount above the image. */
export interface OverlayPlan {
  readonly source: string;
  readonly readOnly: boolean;
  /** Options in their order; layers are escaped. */
  readonly options: readonly (readonly [name: string, value: string])[];
}

/** Reads `6.18.44-cloud` and the like. */
export function parseKernelVersion(release: string): KernelVersion {
  const [, major = "0", minor = "0"] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return { major: Number(major), minor: Number(minor) };
}

/**
 * Plans the overlay.
 *
 * @param erofs where the image is mounted, as overlayfs finds it
 * @throws ComposefsError `unsupported` when the kernel is too old for what is wanted, `usage`
 */
export function planOverlay(request: MountRequest, erofs: string, kernel: KernelVersion): OverlayPlan {
  const { source, version, objects, verity, upper, readWrite } = request;
  if (readWrite && upper === undefined)
    throw new ComposefsError("usage", "a mount that can be written needs a directory for the changes", {
      hint: "give an upperdir and a workdir",
    });
  const has = (major: number, minor: number) =>
    kernel.major > major || (kernel.major === major && kernel.minor >= minor);
  const tooOld = (what: string, needed: string, hint: string) =>
    new ComposefsError("unsupported", `${what} needs Linux ${needed}; this is ${kernel.major}.${kernel.minor}`, {
      hint: `use a kernel of version ${needed} or later, or ${hint}`,
    });
  const checksVerity = verity === true || (verity === "if-possible" && has(6, 6));
  if (checksVerity && !has(6, 6))
    throw tooOld(
      "checking fs-verity through overlayfs",
      "6.6",
      "mount without it: from a repository that does not require it (`composefs init --insecure`), or without verity and digest",
    );
  // Before data-only layers the objects are an ordinary layer, which images of formats 0 and 1 hide behind 256 whiteouts.
  const dataOnly = has(6, 5);
  if (!dataOnly && version === 2) throw tooOld("an image of format 2", "6.5", "pull the image with --erofs-version 1");
  const options: [string, string][] = [
    ["metacopy", "on"],
    ["redirect_dir", "on"],
    ["lowerdir", [erofs, ...objects].map(escapeLayer).join(dataOnly ? "::" : ":")],
  ];
  if (upper !== undefined) {
    options.push(["upperdir", escapePath(upper.upperdir)], ["workdir", escapePath(upper.workdir)]);
  }
  if (checksVerity) options.push(["verity", "require"]);
  return { source, readOnly: !readWrite, options };
}

/** A path in a list of layers. */
export function escapeLayer(path: string): string {
  return escapePath(path).replaceAll(":", "\\:");
}

function escapePath(path: string): string {
  return path.replaceAll("\\", "\\\\");
}
