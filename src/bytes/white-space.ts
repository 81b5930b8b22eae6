// The white space of Unicode, as the formats of booting mean it (docs/spec/boot.md, sections 4 and 19): JavaScript's trim()
// also removes U+FEFF and keeps U+0085.

const SPACE = "[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const LEADING = new RegExp(`^${SPACE}+`);
const TRAILING_SPACE = new RegExp(SPACE);

/** The text without Unicode white space at its beginning. */
export function trimWhiteSpaceStart(text: string): string {
  return text.slice(LEADING.exec(text)?.[0].length ?? 0);
}

/** The text without Unicode white space at both ends; a byte order mark is none. */
export function trimWhiteSpace(text: string): string {
  const start = LEADING.exec(text)?.[0].length ?? 0;
  // By hand: a pattern that ends in `$` looks at every run of spaces again and again.
  let end = text.length;
  while (end > start && TRAILING_SPACE.test(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}
