// All that a PE file for systemd's stub says, for people and programs that look into one (docs/spec/boot.md, section 5).

import { displayBytes } from "../../bytes/byte-string.ts";
import { blobHasher } from "../../core/blob-digest.ts";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import { type ListedArgument, listComposefsArguments } from "../kargs/composefs-argument.ts";
import type { PeFile, PeSource } from "../pe/read.ts";
import { readPeImage } from "../pe/image.ts";
import { UKI_SECTION, ukiBootDigest, ukiCommandLine, ukiOsRelease, untilNul } from "./uki.ts";

/** A section with content of its own. */
export interface InspectedSection {
  readonly name: string;
  /** Length of its content in bytes. */
  readonly size: number;
  /** Where it begins in the file. */
  readonly offset: number;
  /** Hex digest of its content; undefined for sections of the stub. */
  readonly sha256: string | undefined;
}

/** What {@link inspectUki} found. */
export interface UkiInspection {
  /** `uki` has a kernel, `addon` something for a UKI; `stub` and kernels are `other`. */
  readonly kind: "uki" | "addon" | "other";
  /** Size of the file in bytes. */
  readonly size: number;
  readonly architecture: string | undefined;
  /** Whether signatures are attached; says nothing about their worth. */
  readonly signed: boolean;
  /** In the order of the file. */
  readonly sections: readonly InspectedSection[];
  /** What a boot menu shows. */
  readonly label: string | undefined;
  readonly kernelVersion: string | undefined;
  /** Exactly as it is there. */
  readonly commandLine: string | undefined;
  /** The images that the command line names, in its order; none when `problem` says that one is malformed. */
  readonly composefs: readonly ListedArgument[];
  /** Why nothing would boot with this command line. */
  readonly problem: string | undefined;
  /** SHA-256 over kernel and initramfs; undefined unless both are there. */
  readonly bootDigest: string | undefined;
}

/** Sections that systemd's stub gives a meaning. */
const KNOWN: ReadonlySet<string> = new Set([
  ...Object.values(UKI_SECTION),
  ".dtb",
  ".splash",
  ".ucode",
  ".sbat",
  ".sbom",
  ".pcrsig",
  ".pcrpkey",
  ".profile",
  ".dtbauto",
  ".hwids",
]);

/**
 * Looks into a PE file. Sections that are missing are undefined; broken ones are errors.
 *
 * @param source what `pe` was read from
 * @throws ComposefsError with the reasons of section 5
 * @example
 * ```ts
 * using file = openFileSource("linux.efi");
 * const { commandLine } = await inspectUki(PeFile.read(file, file.path), file);
 * ```
 */
export async function inspectUki(pe: PeFile, source: PeSource, signal?: AbortSignal): Promise<UkiInspection> {
  const has = (name: keyof typeof UKI_SECTION) => pe.has(UKI_SECTION[name]);
  const commandLine = has("commandLine") ? ukiCommandLine(pe) : undefined;
  const isAddon = has("commandLine") || pe.has(".dtb") || pe.has(".ucode");
  return {
    kind: has("kernel") ? "uki" : isAddon ? "addon" : "other",
    size: pe.size,
    architecture: pe.architecture,
    signed: isSigned(source, pe.what),
    sections: await inspectSections(pe, signal),
    label: has("osRelease") ? ukiOsRelease(pe).label : undefined,
    kernelVersion: has("kernelVersion") ? untilNul(pe.text(UKI_SECTION.kernelVersion)).trim() : undefined,
    commandLine,
    ...namedImages(commandLine, pe.what),
    bootDigest: has("kernel") && has("initramfs") ? await ukiBootDigest(pe, signal) : undefined,
  };
}

function namedImages(commandLine: string | undefined, what: string): Pick<UkiInspection, "composefs" | "problem"> {
  if (commandLine === undefined) return { composefs: [], problem: undefined };
  try {
    const source = `the command line of ${what}`;
    return { composefs: listComposefsArguments(untilNul(commandLine), source), problem: undefined };
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    return { composefs: [], problem: error.message };
  }
}

async function inspectSections(pe: PeFile, signal: AbortSignal | undefined): Promise<InspectedSection[]> {
  const sections: InspectedSection[] = [];
  // Each name once: a table can claim the whole file 65535 times.
  const hashed = new Set<string>();
  for (const { name, virtualSize, rawPointer } of pe.sections) {
    let sha256: string | undefined;
    if (KNOWN.has(name) && !hashed.has(name)) {
      hashed.add(name);
      const hasher = await blobHasher("sha256");
      for (const chunk of pe.chunks(name)) {
        throwIfAborted(signal);
        hasher.update(chunk);
      }
      sha256 = hasher.digest("hex");
    }
    sections.push({ name: displayBytes(name), size: virtualSize, offset: rawPointer, sha256 });
  }
  return sections;
}

/** Files without the headers that a firmware wants have no signature that it could check. */
function isSigned(source: PeSource, what: string): boolean {
  try {
    return readPeImage(source, what).signatureBytes > 0;
  } catch {
    return false;
  }
}
