// What an entry of the boot menu means to deployments (docs/spec/deployments.md, section 2.6): which one it boots and which files it needs.
// The parsers below this are those of docs/spec/boot.md, 8.2 and 10.4; this is the policy above them.

import type { Algorithm } from "../bytes/algorithm.ts";
import { trimWhiteSpaceStart } from "../bytes/white-space.ts";
import { type BootEntry, parseBootEntry } from "../boot/entry/bls.ts";
import { type GrubEntry } from "../boot/entry/grub-config.ts";
import type { Artifact } from "../boot/entry/identity.ts";
import { deploymentOf } from "../boot/entry/menu.ts";
import { ComposefsError } from "../error.ts";

/** Which deployment an entry boots, and from what. */
export interface EntryIdentity {
  /** A kernel with an initramfs, or a UKI. */
  readonly kind: "bls" | "uki";
  /** The id of the deployment; not checked, it may be any text. */
  readonly verity: string;
  /** The kernel directory or UKI, which an older deployment may have brought; undefined for a kernel that lies in no directory. */
  readonly artifact: Artifact | undefined;
}

/** An entry of ours. */
export interface MenuEntry extends EntryIdentity {
  /** Its file: a name in `loader/entries`, or `user.cfg`. */
  readonly file: string;
  /** What was parsed. */
  readonly source:
    | { readonly kind: "bls"; readonly entry: BootEntry }
    | { readonly kind: "grub"; readonly entry: GrubEntry };
}

/** The kernel command line of an entry; undefined where it is inside a UKI. */
export function entryOptions({ source }: MenuEntry): string | undefined {
  return source.kind === "bls" && source.entry.target.kind === "linux" ? source.entry.options : undefined;
}

/**
 * Which deployment a type 1 entry boots; undefined for a foreign one.
 *
 * @param algorithm of the repository; a `composefs.digest` of another one is passed over
 */
export function bootEntryIdentity(entry: BootEntry, algorithm?: Algorithm): EntryIdentity | undefined {
  const found = deploymentOf(entry, algorithm);
  const kind = entry.target.kind === "linux" ? "bls" : "uki";
  return found && { kind, verity: found.digest, artifact: found.artifact };
}

/** Which deployment an entry of `user.cfg` boots; undefined for a foreign one. */
export function grubEntryIdentity({ chainloader }: GrubEntry): EntryIdentity | undefined {
  return bootEntryIdentity({ ...NO_ENTRY, target: { kind: "efi", path: chainloader } });
}

// A path in `user.cfg` is judged like that of an entry.
const NO_ENTRY = {
  title: undefined,
  version: "",
  initrd: [],
  options: undefined,
  machineId: undefined,
  sortKey: undefined,
  extra: new Map<string, string>(),
};

/** The result of a parser, or undefined where it refuses; status warns about what is refused. */
export function orUndefined<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (error instanceof ComposefsError) return undefined;
    throw error;
  }
}

/**
 * What the lines of an entry name although it does not parse: a boot loader may well boot it, because it needs no version and takes the
 * first of two targets.
 */
export function namedByBrokenEntry(text: string, algorithm?: Algorithm): EntryIdentity[] {
  const lines = text.split("\n");
  const without = (key: RegExp) => lines.filter((line) => !key.test(trimWhiteSpaceStart(line))).join("\n");
  return [without(/^(?:efi|uki)[ \t]/), without(/^linux[ \t]/)].flatMap((part) => {
    const entry = orUndefined(() => parseBootEntry(`version 0\n${part}`));
    return (entry && bootEntryIdentity(entry, algorithm)) ?? [];
  });
}

/** The code of section 9 for an error of the parsers below. */
export function entryErrorCode(error: unknown): string {
  const codes: Record<string, string> = {
    "bls-no-version": "E_BLS_NO_VERSION",
    "bls-two-targets": "E_BLS_BOTH",
    "bls-no-target": "E_BLS_NO_PAYLOAD",
    "grub-syntax": "E_GRUB_CFG",
  };
  const code = error instanceof ComposefsError ? codes[error.reason ?? ""] : undefined;
  if (code === undefined) throw error;
  return code;
}
