// The entries of a boot directory, told apart (docs/spec/boot.md, sections 10.2 and 10.5): those of deployments, those of other systems,
// and files that are no entries; and the plan by which a staged set takes the place of the active one.

import type { Algorithm } from "../../bytes/algorithm.ts";
import { compareBytes } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { readComposefsArgument } from "../kargs/composefs-argument.ts";
import { type BootEntry, entryArtifact, parseBootEntry, writeBootEntry } from "./bls.ts";
import type { Artifact } from "./identity.ts";
import { type NamedEntry, UKI_DIRECTORY } from "./names.ts";
import { type BootLoader, sortMenu } from "./order.ts";

/** A file of `loader/entries` or `loader/entries.staged`. */
export interface EntryFile {
  readonly name: string;
  /** Undefined when it is not UTF-8 text, or too large for an entry. */
  readonly text: string | undefined;
}

/** What a file is. */
export type MenuFile =
  | ({ readonly kind: "deployment"; readonly digest: string; readonly artifact: Artifact | undefined } & NamedEntry)
  /** An entry of another system, or of a memory test: left alone. */
  | ({ readonly kind: "foreign" } & NamedEntry)
  /** Left alone as well. */
  | { readonly kind: "broken"; readonly name: string; readonly error: ComposefsError };

/** A {@link MenuFile} of a deployment. */
export type DeploymentEntry = MenuFile & { kind: "deployment" };

/**
 * Tells what a file with a name in `.conf` is. Never throws: an entry that cannot be understood is `broken`.
 *
 * @param algorithm of the repository; any when left out
 */
export function classifyEntry({ name, text }: EntryFile, algorithm?: Algorithm): MenuFile {
  try {
    if (text === undefined)
      throw new ComposefsError("invalid", `${name} is not a text file`, { path: name, reason: "not-utf8" });
    const entry = parseBootEntry(text, name);
    const found = deploymentOf(entry, algorithm);
    return found === undefined ? { kind: "foreign", name, entry } : { kind: "deployment", name, entry, ...found };
  } catch (error) {
    if (error instanceof ComposefsError) return { kind: "broken", name, error };
    throw error;
  }
}

/**
 * The deployment that an entry is for; undefined when it is none of ours. UKIs without prefix count below `EFI/Linux/bootc`, where old
 * installations put them.
 */
export function deploymentOf(
  entry: BootEntry,
  algorithm?: Algorithm,
): { digest: string; artifact: Artifact | undefined } | undefined {
  if (entry.target.kind === "linux") {
    const argument = readComposefsArgument(entry.options ?? "", algorithm);
    return argument && { digest: argument.digest, artifact: artifactOf(entry) };
  }
  const artifact = artifactOf(entry);
  if (artifact === undefined) return undefined;
  const below = entry.target.path.replace(/^\/+/, "").startsWith(`${UKI_DIRECTORY}/`);
  return artifact.prefixed || below ? { digest: artifact.name, artifact } : undefined;
}

function artifactOf(entry: BootEntry): Artifact | undefined {
  try {
    return entryArtifact(entry);
  } catch {
    return undefined;
  }
}

/** The entries of deployments as the boot loader shows them, and the files that were passed over. */
export interface Menu {
  readonly entries: readonly DeploymentEntry[];
  readonly others: readonly Exclude<MenuFile, DeploymentEntry>[];
}

/** Reads a set of files: only names in `.conf` count. */
export function readMenu(loader: BootLoader, files: readonly EntryFile[], algorithm?: Algorithm): Menu {
  const all = files.filter(({ name }) => name.endsWith(".conf")).map((file) => classifyEntry(file, algorithm));
  const isDeployment = (file: MenuFile): file is DeploymentEntry => file.kind === "deployment";
  return {
    entries: sortMenu(loader, all.filter(isDeployment)),
    others: all.filter((file): file is Exclude<MenuFile, DeploymentEntry> => !isDeployment(file)),
  };
}

/** How a staged set becomes active, file by file; a bootable menu is there at every moment. Lists of names in byte order. */
export interface ActivationPlan {
  /** Active files that are copied to `a_NAME` first, because what is written next replaces them by another deployment. */
  readonly save: readonly string[];
  /** Staged files but for the primary. */
  readonly write: readonly string[];
  /** The staged file that becomes the default, written last. */
  readonly primary: string;
  /** Active files that go at the end. */
  readonly unlink: readonly string[];
}

/** What saved files are called: below all names of ours in GRUB's menu. */
export function savedName(name: string): string {
  return `a_${name}`;
}

/**
 * Plans the activation.
 *
 * @param active all files of the active directory
 * @param staged the entries of the staged directory as the boot loader will show them, the primary first
 * @throws ComposefsError `invalid` for an empty set, which would leave nothing to boot
 */
export function planActivation(active: readonly EntryFile[], staged: readonly DeploymentEntry[]): ActivationPlan {
  const [primary, ...others] = staged;
  if (primary === undefined)
    throw new ComposefsError("invalid", "the staged boot entries hold none for a deployment", {
      hint: "nothing was changed; stage the deployment again",
    });
  const files = new Map(active.map((file) => [file.name, file]));
  const names = new Set(staged.map(({ name }) => name));
  const ours = active
    .filter(({ name }) => name.endsWith(".conf"))
    .map((file) => classifyEntry(file))
    .filter((file): file is DeploymentEntry => file.kind === "deployment");
  const replaced = staged.filter((one) => {
    const file = files.get(one.name);
    if (file === undefined) return false;
    const old = ours.find(({ name }) => name === one.name);
    // What is not ours must not be lost, whichever file replaces it.
    if (old === undefined) return file.text !== writeBootEntry(one.entry);
    return one !== primary && old.digest !== one.digest;
  });
  const save = sorted(replaced.map(({ name }) => name));
  const gone = ours.map(({ name }) => name).filter((name) => !names.has(name));
  const saved = save.filter((name) => ours.some((one) => one.name === name)).map(savedName);
  return {
    save,
    write: sorted(others.map(({ name }) => name)),
    primary: primary.name,
    unlink: sorted([...new Set([...gone, ...saved])]),
  };
}

function sorted(names: readonly string[]): string[] {
  return [...names].sort((a, b) => compareBytes(a, b));
}
