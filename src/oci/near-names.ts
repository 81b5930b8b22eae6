// Names close to a mistyped one, for hints.

/** Levenshtein distance, given up beyond `limit`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    let best = i;
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const cost = Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
      next.push(cost);
      if (cost < best) best = cost;
    }
    if (best > limit) return limit + 1;
    row = next;
  }
  return row[b.length] ?? limit + 1;
}

/**
 * Up to three of the names that could have been meant, nearest first: a third of the letters may be wrong, or the
 * one is part of the other, ignoring case.
 */
export function nearNames(wanted: string, names: Iterable<string>): string[] {
  const lower = wanted.toLowerCase();
  const limit = Math.max(1, Math.floor(wanted.length / 3));
  const near: { name: string; cost: number }[] = [];
  for (const name of names) {
    const other = name.toLowerCase();
    let cost = distance(lower, other, limit);
    const contained = lower.length >= 3 && other.length >= 3 && (other.includes(lower) || lower.includes(other));
    if (cost > limit && contained) cost = limit;
    if (cost <= limit) near.push({ name, cost });
  }
  near.sort((a, b) => a.cost - b.cost || (a.name < b.name ? -1 : 1));
  return near.slice(0, 3).map(({ name }) => name);
}
