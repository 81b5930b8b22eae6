// Names of streams, images and refs, and the targets of their links (docs/spec/repository.md, sections 1.1, 7.1, 7.2).

import { ComposefsError } from "../error.ts";

/** The two categories of names. */
export type Category = "streams" | "images";

/** Longest component of a path that file systems take, in bytes. */
const MAX_COMPONENT = 255;

/**
 * Checks a name of one component: a content id or an image id.
 *
 * @throws ComposefsError `usage`
 */
export function checkEntryName(name: string, what: string): void {
  checkComponents(name, what);
  if (name.includes("/")) throw new ComposefsError("usage", `${what} "${name}" must not contain "/"`);
  if (name === "refs") throw new ComposefsError("usage", `${what} "refs" is reserved`);
}

/**
 * Checks the name of a ref: components separated by single slashes, none of them empty, `.` or `..`.
 *
 * @throws ComposefsError `usage`
 */
export function checkRefName(name: string): void {
  checkComponents(name, "ref name");
}

/**
 * Checks a name as commands take it: an entry, or `refs/` and the name of a ref.
 *
 * @throws ComposefsError `usage`
 */
export function checkLookupName(name: string, what: string): void {
  checkComponents(name, what);
}

/** The target of a link; both paths relative to the repository's root. */
export function relativeTarget(link: string, target: string): string {
  const from = link.split("/").slice(0, -1);
  const to = target.split("/");
  let common = 0;
  while (common < from.length && common < to.length - 1 && from[common] === to[common]) common++;
  return "../".repeat(from.length - common) + to.slice(common).join("/");
}

function checkComponents(name: string, what: string): void {
  const fail = (reason: string) =>
    new ComposefsError("usage", `${what} ${JSON.stringify(name)} ${reason}`, {
      hint: "names are components separated by single slashes, none of them empty, `.` or `..`",
    });
  if (name === "") throw fail("is empty");
  if (name.includes("\0")) throw fail("contains a NUL");
  for (const component of name.split("/")) {
    if (component === "") throw fail(name.startsWith("/") ? "begins with a slash" : "has an empty component");
    if (component === "." || component === "..") throw fail(`has the component "${component}"`);
    if (Buffer.byteLength(component) > MAX_COMPONENT) throw fail(`has a component of more than ${MAX_COMPONENT} bytes`);
  }
}
