// Which deployment a boot entry is for, and which files on the disk it needs (docs/spec/boot.md, section 8.2, "Derived"): the digest
// names the deployment, the artifact the directory or UKI, which an older deployment may have made.

import { ComposefsError } from "../../error.ts";

/** What the names of everything that is written for deployments begin with. */
export const BOOTC_PREFIX = "bootc_composefs-";

/** The name of a kernel directory or UKI without prefix and extension. */
export interface Artifact {
  readonly name: string;
  /** Whether the prefix was there; old installations lack it. */
  readonly prefixed: boolean;
}

/**
 * The digest in the path of a UKI: its name must be `bootc_composefs-DIGEST.efi`.
 *
 * @throws ComposefsError `invalid` with the reason `empty-path`, `no-prefix` or `no-efi-suffix`
 */
export function ukiDigest(path: string): string {
  if (path === "") throw failure("empty-path", "the entry names no UKI");
  const name = fileName(path) ?? "";
  if (!name.startsWith(BOOTC_PREFIX))
    throw failure("no-prefix", `the name of "${path}" does not begin with ${BOOTC_PREFIX}`);
  if (!name.endsWith(".efi")) throw failure("no-efi-suffix", `the name of "${path}" does not end in .efi`);
  return name.slice(BOOTC_PREFIX.length, -".efi".length);
}

/**
 * The artifact of a UKI: its name without `.efi` and prefix.
 *
 * @throws ComposefsError `invalid` with the reason `no-file-name` or `no-efi-suffix`
 */
export function ukiArtifact(path: string): Artifact {
  const name = fileName(path);
  if (name === undefined) throw failure("no-file-name", `"${path}" has no file name`);
  if (!name.endsWith(".efi")) throw failure("no-efi-suffix", `the name of "${path}" does not end in .efi`);
  return withoutPrefix(name.slice(0, -".efi".length));
}

/**
 * The artifact of a plain kernel: the name of the directory that holds it.
 *
 * @throws ComposefsError `invalid` with the reason `no-file-name` when it lies in none
 */
export function kernelArtifact(path: string): Artifact {
  const name = components(path).at(-2);
  if (name === undefined || name === "..") throw failure("no-file-name", `the kernel "${path}" lies in no directory`);
  return withoutPrefix(name);
}

function withoutPrefix(name: string): Artifact {
  const prefixed = name.startsWith(BOOTC_PREFIX);
  return { name: prefixed ? name.slice(BOOTC_PREFIX.length) : name, prefixed };
}

function fileName(path: string): string | undefined {
  const last = components(path).at(-1);
  return last === ".." ? undefined : last;
}

function components(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function failure(reason: string, message: string): ComposefsError {
  return new ComposefsError("invalid", message, { reason });
}
