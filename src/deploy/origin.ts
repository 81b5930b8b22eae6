// The `.origin` file of a deployment, an ini file (docs/spec/deployments.md, section 2.3): parser, writer, and the update of keys. Keys
// and sections that nobody here knows survive an update; comments do not.

import { trimWhiteSpace } from "../bytes/white-space.ts";
import { ComposefsError } from "../error.ts";

/** Sections by name, each with its keys and values, all in the order in which they were first seen. No section is empty. */
export type Origin = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** A value and where it belongs. */
export type OriginEntry = readonly [section: string, key: string, value: string];

/** The reference of the image that the deployment follows. */
export const IMAGE_REFERENCE = ["origin", "container-image-reference"] as const;
/** `bls` for a kernel with an initramfs, `uki` for a UKI. */
export const BOOT_TYPE = ["boot", "boot_type"] as const;
/** SHA-256 of kernel and initramfs. */
export const BOOT_DIGEST = ["boot", "digest"] as const;
/** The digest of the manifest in the repository. */
export const MANIFEST_DIGEST = ["image", "manifest_digest"] as const;

/** The value of a key; undefined when there is none. */
export function originValue(origin: Origin, [section, key]: readonly [string, string]): string | undefined {
  return origin.get(section)?.get(key);
}

// A comment begins at the start of the line or after white space; a `#` inside a path is none.
function withoutComment(line: string): string {
  for (let at = 0; at < line.length; at++) {
    if (line[at] !== ";" && line[at] !== "#") continue;
    if (at === 0 || trimWhiteSpace(line.charAt(at - 1)) === "") return line.slice(0, at);
  }
  return line;
}

/**
 * Parses the text of an origin file.
 *
 * @param path for messages
 * @throws ComposefsError `invalid` with `line` and the reason `E_ORIGIN_SECTION`, `E_ORIGIN_SYNTAX` or `E_ORIGIN_EMPTY_KEY`
 */
export function parseOrigin(text: string, path = "the origin file"): Origin {
  const origin = new Map<string, Map<string, string>>();
  const fail = (index: number, reason: string, message: string) =>
    new ComposefsError("invalid", `${path}, line ${index + 1}: ${message}`, {
      path,
      line: index + 1,
      reason,
      hint: 'lines are "[section]", "key = value", or comments after ; or #',
    });
  if (text.startsWith("\ufeff")) throw fail(0, "E_ORIGIN_SYNTAX", "the file begins with a byte order mark");
  let section = "";
  for (const [index, line] of text.split("\n").entries()) {
    const content = trimWhiteSpace(withoutComment(line));
    if (content === "") continue;
    if (content.startsWith("[")) {
      if (!content.endsWith("]")) throw fail(index, "E_ORIGIN_SECTION", 'the name of the section must end in "]"');
      section = withoutBrackets(content);
      continue;
    }
    const equals = content.indexOf("=");
    if (equals < 0) throw fail(index, "E_ORIGIN_SYNTAX", 'there is neither a section nor a "="');
    const key = trimWhiteSpace(content.slice(0, equals));
    if (key === "") throw fail(index, "E_ORIGIN_EMPTY_KEY", 'there is no key before the "="');
    setValue(origin, [section, key, trimWhiteSpace(content.slice(equals + 1))]);
  }
  return origin;
}

function withoutBrackets(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && "[]".includes(text.charAt(start))) start++;
  while (end > start && "[]".includes(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}

function setValue(origin: Map<string, Map<string, string>>, [section, key, value]: OriginEntry): void {
  const keys = origin.get(section);
  if (keys) keys.set(key, value);
  else origin.set(section, new Map([[key, value]]));
}

/**
 * The text of an origin file.
 *
 * @example
 * ```ts
 * writeOrigin(withOriginEntries(new Map(), [["boot", "boot_type", "bls"]])); // "[boot]\nboot_type = bls\n"
 * ```
 */
export function writeOrigin(origin: Origin): string {
  const sections = [...origin].map(([section, keys]) => {
    // After a space it would be a comment, and the value empty at the next reading.
    const lines = [...keys].map(([key, value]) => `${key} =${/^[;#]/.test(value) ? "" : " "}${value}\n`);
    return `[${section}]\n${lines.join("")}`;
  });
  return sections.join("\n");
}

/**
 * An origin with some values added or replaced.
 *
 * Only the new values are checked: bootc cuts values at `#` and `;` when it reads them, so those are not written, but a value that came
 * from a file stays as it is.
 *
 * @throws ComposefsError `invalid` with the reason `E_ORIGIN_VALUE` for a value that would be misread
 */
export function withOriginEntries(origin: Origin, entries: readonly OriginEntry[]): Origin {
  const result = new Map([...origin].map(([section, keys]): [string, Map<string, string>] => [section, new Map(keys)]));
  for (const entry of entries) {
    const [section, key, value] = entry;
    if (/[\n\r#;]/.test(value) || trimWhiteSpace(value) !== value)
      throw new ComposefsError("invalid", `${key} of section ${section} cannot be ${JSON.stringify(value)}`, {
        reason: "E_ORIGIN_VALUE",
        hint: "line breaks, #, ; and white space at either end would be lost at the next reading: choose another name or path",
      });
    setValue(result, entry);
  }
  return result;
}
