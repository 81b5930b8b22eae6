// White space as the formats of booting understand it: Unicode's property White_Space. JavaScript's own trim() also takes the byte
// order mark and leaves U+0085.

const SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACE}]+`);
const ONE = new RegExp(`[${SPACE}]`);

/** The text without white space at its beginning. */
export function trimSpaceStart(text: string): string {
  return text.replace(LEADING, "");
}

/** The text without white space at both ends. */
export function trimSpace(text: string): string {
  // Counted by hand: a pattern that ends in `+$` takes time that grows with the square of inner runs of white space.
  let end = text.length;
  while (end > 0 && ONE.test(text.charAt(end - 1))) end--;
  return trimSpaceStart(text.slice(0, end));
}
