// What is to be done in a boot directory, as data (docs/spec/boot.md, sections 9 to 11): planners make lists of steps, `carry-out.ts`
// does them one after the other, each durable before the next begins.

import { ComposefsError } from "../../error.ts";
import type { BootFile } from "../resource.ts";

/** One step. Paths are text, relative to the volume, with `/` between their components. */
export type BootStep =
  /** A file of the image is copied; one that is there with the same content stays. */
  | { readonly do: "copy"; readonly on: BootVolumeName; readonly path: string; readonly file: BootFile }
  /** A small text is written, in the place of whatever has the name. */
  | { readonly do: "write"; readonly on: BootVolumeName; readonly path: string; readonly text: string };

/** The boot directory, or the EFI system partition; loaders that read entries from the ESP have one for both. */
export type BootVolumeName = "boot" | "esp";

/**
 * Checks a name that becomes one component of a path in a boot directory.
 *
 * @param what for the message, as in "the entry id"
 * @throws ComposefsError `code`, with the reason `invalid-name`
 */
export function checkBootName(name: string, what: string, code: "usage" | "invalid" = "invalid"): void {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not be in names
  if (name !== "" && name !== "." && name !== ".." && name.length <= 255 && !/[/\u0000-\u001f\u007f]/.test(name))
    return;
  throw new ComposefsError(code, `${what} ${JSON.stringify(name.slice(0, 300))} cannot be the name of a file`, {
    reason: "invalid-name",
    hint: "a name has up to 255 characters, no slash and no control characters",
  });
}

/**
 * Checks that no two steps write different things to one path, case not counted, because FAT does not count it.
 *
 * @throws ComposefsError `invalid` that names both
 */
export function checkDistinctTargets(steps: readonly BootStep[]): void {
  const seen = new Map<string, BootStep>();
  for (const step of steps) {
    const key = `${step.on}/${step.path.toLowerCase()}`;
    const other = seen.get(key);
    seen.set(key, step);
    if (other === undefined || (other.do === "copy" && step.do === "copy" && other.file.path === step.file.path))
      continue;
    const name = (one: typeof step) => (one.do === "copy" ? one.file.path : one.path);
    throw new ComposefsError("invalid", `${name(other)} and ${name(step)} would both become ${step.path}`, {
      path: step.path,
      hint: "give the files of the image different names, or leave the entry id away",
    });
  }
}
