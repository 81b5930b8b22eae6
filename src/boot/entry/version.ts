// Two ways to compare versions: the one of the UAPI group's version format, which boot loader entries are sorted by (docs/spec/boot.md,
// section 8.5), and the one of RPM, by which GRUB sorts the names of entry files (8.4).

/**
 * Compares by the UAPI version format: -1, 0 or 1 for older, equal, newer.
 *
 * @example
 * ```ts
 * compareVersions("1.0~rc1", "1.0"); // -1
 * ```
 */
export function compareVersions(a: string, b: string): -1 | 0 | 1 {
  let i = 0;
  let j = 0;
  for (;;) {
    i = skip(a, i, /[A-Za-z0-9~\-^.]/);
    j = skip(b, j, /[A-Za-z0-9~\-^.]/);
    const x = a.charAt(i);
    const y = b.charAt(j);
    if (x === "~" || y === "~") {
      if (x !== y) return x === "~" ? -1 : 1;
      i++;
      j++;
      continue;
    }
    if (x === "" || y === "") return x === y ? 0 : x === "" ? -1 : 1;
    const separator = ["-", "^", "."].find((one) => x === one || y === one);
    if (separator !== undefined) {
      if (x !== y) return x === separator ? -1 : 1;
      i++;
      j++;
      continue;
    }
    const digits = isDigit(x) || isDigit(y);
    const ends = [runEnd(a, i, digits), runEnd(b, j, digits)] as const;
    const order = compareRuns(a.slice(i, ends[0]), b.slice(j, ends[1]), digits);
    if (order !== 0) return order;
    [i, j] = ends;
  }
}

/** Compares two parts of a package name by RPM's rule: -1, 0 or 1 for older, equal, newer. */
export function compareRpmVersions(a: string, b: string): -1 | 0 | 1 {
  if (a === b) return 0;
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    i = skip(a, i, /[A-Za-z0-9~]/);
    j = skip(b, j, /[A-Za-z0-9~]/);
    const x = a.charAt(i);
    const y = b.charAt(j);
    if (x === "~" || y === "~") {
      if (x !== y) return x === "~" ? -1 : 1;
      i++;
      j++;
      continue;
    }
    if (x === "" || y === "") break;
    const digits = isDigit(x);
    const ends = [runEnd(a, i, digits), runEnd(b, j, digits)] as const;
    if (ends[1] === j) return digits ? 1 : -1;
    const order = compareRuns(a.slice(i, ends[0]), b.slice(j, ends[1]), digits);
    if (order !== 0) return order;
    [i, j] = ends;
  }
  if (i >= a.length && j >= b.length) return 0;
  return i < a.length ? 1 : -1;
}

function compareRuns(a: string, b: string, digits: boolean): -1 | 0 | 1 {
  return digits ? compareNumbers(a, b) : sign(a, b);
}

function skip(text: string, from: number, stop: RegExp): number {
  let at = from;
  while (at < text.length && !stop.test(text.charAt(at))) at++;
  return at;
}

function isDigit(char: string): boolean {
  return char >= "0" && char <= "9";
}

function isLetter(char: string): boolean {
  return (char >= "a" && char <= "z") || (char >= "A" && char <= "Z");
}

function runEnd(text: string, from: number, digits: boolean): number {
  let at = from;
  while (at < text.length && (digits ? isDigit(text.charAt(at)) : isLetter(text.charAt(at)))) at++;
  return at;
}

// Runs of digits as numbers of any length; an empty run is older than any other.
function compareNumbers(a: string, b: string): -1 | 0 | 1 {
  if (a === "" || b === "") return a === b ? 0 : a === "" ? -1 : 1;
  const x = a.replace(/^0+/, "");
  const y = b.replace(/^0+/, "");
  return x.length === y.length ? sign(x, y) : x.length < y.length ? -1 : 1;
}

function sign(a: string, b: string): -1 | 0 | 1 {
  return a === b ? 0 : a < b ? -1 : 1;
}
