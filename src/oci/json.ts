// JSON documents from outside: strict where two readers could understand different things, bounded in depth.

import { ComposefsError } from "../error.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Deeper than any honest manifest or config, shallow enough for every recursive reader behind this one. */
const MAX_DEPTH = 128;

/** Keys whose values are maps with free keys, which take the last of equal keys and harm nobody. */
const FREE_MAPS = new Set(["annotations", "Labels", "Volumes", "ExposedPorts"]);

/**
 * Parses UTF-8 JSON. Refuses a byte order mark, invalid UTF-8, nesting beyond 128 levels, and objects that have one
 * of `keys` twice: readers disagree on which of the two counts.
 *
 * @param what names the document in errors, as in "the manifest sha256:..."
 * @param keys the keys that this document's reader looks at
 * @throws ComposefsError `invalid`
 */
export function parseJson(bytes: Uint8Array, what: string, keys: ReadonlySet<string>): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (error) {
    throw new ComposefsError("invalid", `${what} is not valid JSON: it is not UTF-8 text`, { cause: error });
  }
  if (text.startsWith("\ufeff")) {
    throw new ComposefsError("invalid", `${what} is not valid JSON: it begins with a byte order mark`);
  }
  checkStructure(text, what, keys);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ComposefsError("invalid", `${what} is not valid JSON: ${(error as Error).message}`, { cause: error });
  }
}

interface Level {
  /** Keys seen so far, or undefined in an array. */
  seen: Set<string> | undefined;
  /** Keys in here are free. */
  free: boolean;
  /** The last key, whose value comes next. */
  key: string;
}

/** Walks the tokens without recursion; JSON.parse judges the syntax afterwards. */
function checkStructure(text: string, what: string, keys: ReadonlySet<string>): void {
  const stack: Level[] = [];
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]]|:/g;
  let lastString: string | undefined;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const part = match[0];
    const top = stack.at(-1);
    if (part === "{" || part === "[") {
      if (stack.length >= MAX_DEPTH) {
        throw new ComposefsError("invalid", `${what} is nested more than ${MAX_DEPTH} levels deep`);
      }
      const free = top?.seen !== undefined && FREE_MAPS.has(top.key);
      stack.push({ seen: part === "{" ? new Set() : undefined, free, key: "" });
    } else if (part === "}" || part === "]") {
      stack.pop();
    } else if (part === ":") {
      if (top?.seen === undefined || lastString === undefined) continue;
      const key = decodeKey(lastString);
      if (top.seen.has(key) && keys.has(key) && !top.free) {
        throw new ComposefsError("invalid", `${what} has the key ${JSON.stringify(key)} twice in one object`);
      }
      top.seen.add(key);
      top.key = key;
    } else {
      lastString = part;
    }
  }
}

/** The key that a string token means; escapes are how a duplicate could hide. */
function decodeKey(token: string): string {
  try {
    return JSON.parse(token) as string;
  } catch {
    return token;
  }
}
