// What stands after `containers-storage:`: `[[driver@root+runroot:options]]NAME` (docs/spec/containers-storage.md, section 2).

import { ComposefsError } from "../../../error.ts";
import { storageError } from "./fault.ts";

/** A parsed name. */
export interface StorageReference {
  /** What names the image: a name, a digest or an id. */
  readonly name: string;
  /** The store that the brackets name; undefined without them. */
  readonly root: string | undefined;
  /** Stores that the options in the brackets add. */
  readonly additional: readonly string[];
}

/**
 * Parses the form that podman and skopeo print, or a plain name.
 *
 * @throws ComposefsError `invalid`; `unsupported` (`driver`) for another driver than overlay
 */
export function parseStorageReference(text: string): StorageReference {
  if (!text.startsWith("[")) return { name: text, root: undefined, additional: [] };
  const fail = (problem: string) =>
    new ComposefsError("invalid", `image reference containers-storage:${text}: ${problem}`, {
      hint: "write containers-storage:[overlay@ROOT+RUNROOT]NAME, or only containers-storage:[ROOT]NAME",
    });
  const end = text.indexOf("]");
  if (end < 0) throw fail("the bracket is not closed");
  const name = text.slice(end + 1);
  if (name === "") throw fail("no image is named after the bracket");
  let place = text.slice(1, end);
  const at = place.indexOf("@");
  if (at >= 0) {
    const driver = place.slice(0, at);
    if (driver !== "" && !isOverlay(driver)) throw otherDriver(driver, `containers-storage:${text}`);
    place = place.slice(at + 1);
  }
  const colon = place.indexOf(":");
  const options = colon < 0 ? "" : place.slice(colon + 1);
  if (colon >= 0) place = place.slice(0, colon);
  const plus = place.indexOf("+");
  const root = plus < 0 ? place : place.slice(0, plus);
  if (!root.startsWith("/")) throw fail(`the root ${JSON.stringify(root)} is no absolute path`);
  return { name, root, additional: storageOptions(options).additional };
}

/** Whether a driver's name, of today or of long ago, means overlay. */
export function isOverlay(driver: string): boolean {
  return driver === "overlay" || driver === "overlay2";
}

/** The error for a store that cannot be read. */
export function otherDriver(driver: string, where: string): ComposefsError {
  return storageError("driver", `${where} uses the driver ${driver}; only overlay can be imported directly`, {
    hint: "copy the image into a layout first: skopeo copy containers-storage:NAME oci:DIR:TAG",
  });
}

/** Options as in STORAGE_OPTS: comma separated, keys with or without the name of the driver before them. */
export function storageOptions(text: string): { additional: string[]; imageStore: string | undefined } {
  const additional: string[] = [];
  let imageStore: string | undefined;
  for (const option of text.split(",")) {
    const equals = option.indexOf("=");
    if (equals < 0) continue;
    const key = option
      .slice(0, equals)
      .trim()
      .replace(/^overlay2?\./, "");
    const value = option.slice(equals + 1);
    if (key === "additionalimagestore" && value.startsWith("/")) additional.push(value);
    if (key === "imagestore" && value.startsWith("/")) imageStore = value;
  }
  return { additional, imageStore };
}
