// JSON as text rather than values: what JSON.parse would reorder or round is kept as it is spelled (docs/spec/deployments.md,
// section 2.4).

// A string, a bracket, or a run of white space. The pattern of the string has no nested repetition, so its time is linear.
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[ \t\n\r]+/g;

/**
 * The text of the value of a member of the outermost object; undefined when there is no such member, the last one when there are several.
 *
 * @param text valid JSON
 */
export function memberText(text: string, name: string): string | undefined {
  let depth = 0;
  let key: string | undefined;
  let last: string | undefined;
  let start = 0;
  let found: string | undefined;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const first = token.charAt(0);
    if (depth === 1 && (token === "," || token === "}")) {
      if (key === name) found = text.slice(start, index).trim();
      key = undefined;
    }
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (first === '"') last = token;
    else if (token === ":" && depth === 1 && key === undefined && last !== undefined) {
      key = JSON.parse(last) as string;
      start = index + 1;
    }
  }
  return found;
}

/**
 * The same JSON without white space: the order of members and the spelling of numbers stay, strings are escaped only as far as JSON
 * demands.
 *
 * @param text valid JSON
 */
export function compactJson(text: string): string {
  return text.replace(TOKEN, (token) => {
    const first = token.charAt(0);
    if (first === '"') return JSON.stringify(JSON.parse(token));
    return " \t\n\r".includes(first) ? "" : token;
  });
}
