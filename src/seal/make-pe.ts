// A planned UKI or addon as a file, signed if asked for. What the signing command leaves is only taken when it is the same file with
// signatures.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { openFileSource } from "../boot/file-source.ts";
import type { AppendPlan } from "../boot/pe/append.ts";
import { readPeImage } from "../boot/pe/image.ts";
import { holdsPlanned } from "../boot/pe/payload.ts";
import { writePe } from "../boot/uki/write.ts";
import { ComposefsError } from "../error.ts";
import type { ProgressListener } from "../progress.ts";
import { runSigningCommand, type SigningCommand, signsElsewhere } from "./sign.ts";

/** A file that was made. */
export interface MadePe {
  readonly path: string;
  /** In bytes, signatures included. */
  readonly size: number;
  readonly signed: boolean;
}

/** Options of {@link makePe}. */
export interface MakePeOptions {
  readonly sign?: SigningCommand | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Writes the file into a directory and has it signed.
 *
 * @param name of the file in the directory, without an extension
 * @param what it is called in messages
 * @throws ComposefsError `io` and `not-found` when the command fails, `invalid` when it left something else than a signature
 */
export async function makePe(
  plan: AppendPlan,
  directory: string,
  name: string,
  what: string,
  { sign, signal, onProgress }: MakePeOptions,
): Promise<MadePe> {
  const unsigned = join(directory, `${name}.efi`);
  onProgress?.({ type: "start", id: what, kind: "image", label: what, total: plan.size });
  await writePe(plan, unsigned, signal);
  onProgress?.({ type: "done", id: what });
  if (sign === undefined) return { path: unsigned, size: plan.size, signed: false };
  const path = signsElsewhere(sign) ? join(directory, `${name}.signed.efi`) : unsigned;
  const signing = { id: `sign ${what}`, label: `signing ${what}` };
  onProgress?.({ type: "start", kind: "image", ...signing });
  await runSigningCommand(sign, unsigned, path, signal);
  onProgress?.({ type: "done", id: signing.id });
  if (!existsSync(path)) {
    throw new ComposefsError("io", `the signing command \`${sign.text}\` wrote nothing to {out}`, {
      hint: "does it write elsewhere? without {out} it must sign {in} in place",
    });
  }
  using file = openFileSource(path);
  const signedName = `what \`${sign.text}\` made of ${what}`;
  const { signatureBytes } = readPeImage(file, signedName);
  if (signatureBytes === 0) {
    throw new ComposefsError("invalid", `the signing command \`${sign.text}\` left no signature`, {
      hint: "the firmware would refuse the file; run the command by hand to see what it does",
    });
  }
  if (!holdsPlanned(plan, file, signedName, signal)) {
    throw new ComposefsError("invalid", `the signing command \`${sign.text}\` changed more than the signature`, {
      hint: "what it left is not the file that it was given",
    });
  }
  return { path, size: file.size, signed: true };
}
