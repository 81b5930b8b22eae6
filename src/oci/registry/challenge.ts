// `WWW-Authenticate` (RFC 9110, section 11.6.1; docs/spec/oci.md, section 3.3): what a registry wants to see before it answers.

/** One challenge: its scheme in lower case, and its parameters with their keys in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Longer headers are not looked at: no honest challenge is that long. */
const MAX_HEADER = 16 << 10;

/**
 * Takes a header apart: several challenges, separated by commas as their parameters are; quoted strings with backslash escapes.
 * What cannot be understood ends the list; it never throws.
 *
 * @example
 * ```ts
 * parseChallenges('Bearer realm="https://h/token",service="s"')[0]?.parameters["realm"]; // "https://h/token"
 * ```
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const text = header.slice(0, MAX_HEADER);
  const separator = /[\s,]*/y;
  const parameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;
  const scheme = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?=[\s,]|$)/y;
  let at = 0;
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  while (at < text.length) {
    match(separator);
    const current = challenges.at(-1);
    const pair = current === undefined ? null : match(parameter);
    if (pair !== null && current !== undefined) {
      const [, key = "", quoted, token] = pair;
      current.parameters[key.toLowerCase()] = token ?? (quoted ?? "").replace(/\\(.)/g, "$1");
      continue;
    }
    const name = match(scheme);
    if (name === null) break;
    challenges.push({
      scheme: (name[1] ?? "").toLowerCase(),
      parameters: Object.create(null) as Record<string, string>,
    });
  }
  return challenges;
}
