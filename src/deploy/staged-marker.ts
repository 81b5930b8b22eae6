// The file that says which deployment is staged (docs/spec/deployments.md, section 2.5). It lies in /run and goes with the boot.

import { ComposefsError } from "../error.ts";
import { parseJson } from "../oci/json.ts";
import { canonicalJson } from "./canonical-json.ts";

/** Where the file lies, below `/run`. */
export const STAGED_FILE = "composefs/staged-deployment";

/** The deployment that becomes the default when the machine goes down. */
export interface StagedMarker {
  readonly id: string;
  /** Downloaded only: it is not made the default until it is unlocked. */
  readonly locked: boolean;
}

const MEMBERS: ReadonlySet<string> = new Set(["depl_id", "finalization_locked"]);

/**
 * Parses the file; members that are not known are passed over.
 *
 * @throws ComposefsError `invalid` with the reason `E_STAGED_FILE`
 */
export function parseStagedMarker(text: string, path = "the staged deployment file"): StagedMarker {
  const fail = (why: string, cause?: unknown) =>
    new ComposefsError("invalid", `${path}: ${why}`, {
      ...(cause === undefined ? {} : { cause }),
      path,
      reason: "E_STAGED_FILE",
      hint: "stage the update again; the file is written anew",
    });
  let document: unknown;
  try {
    document = parseJson(Buffer.from(text), "it", MEMBERS);
  } catch (error) {
    throw fail((error as Error).message, error);
  }
  if (document === null || typeof document !== "object" || Array.isArray(document)) throw fail("it is no JSON object");
  const { depl_id: id, finalization_locked: locked } = document as Record<string, unknown>;
  if (typeof id !== "string") throw fail("the member depl_id must be a string");
  if (typeof locked !== "boolean") throw fail("the member finalization_locked must be true or false");
  return { id, locked };
}

/** The text of the file: canonical JSON without a newline. */
export function writeStagedMarker({ id, locked }: StagedMarker): string {
  return canonicalJson({ depl_id: id, finalization_locked: locked });
}
