// Where in the text of a registries.conf something stands, for messages about it (docs/spec/oci.md, section 3.2): the parser gives
// values without their places.

const HEADER = /^\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]\]?\s*(?:#.*)?$/;

/**
 * The line, counted from 1, of a key or of the table that lacks it; undefined where the document is written in another way, as with
 * tables on one line.
 *
 * @param path as in `["registry", "0", "mirror", "1", "location"]`
 */
export function lineOf(text: string, path: readonly string[]): number | undefined {
  const isIndex = (step: string | undefined) => step !== undefined && /^\d+$/.test(step);
  const last = path.findLastIndex(isIndex);
  const wanted = path.slice(0, last + 1).join(".");
  const key = path[last + 1];
  let table = "";
  let found = last < 0 ? 0 : undefined;
  const counts = new Map<string, number>();
  for (const [index, line] of text.split("\n").entries()) {
    const [, header] = HEADER.exec(line) ?? [];
    if (header !== undefined) {
      table = numbered(header, counts);
      if (table === wanted) found = index + 1;
      if (last < 0 && header.split(".")[0] === key) return index + 1;
    } else if (table === wanted && key !== undefined && line.split("=")[0]?.trim().replace(/^"|"$/g, "") === key) {
      return index + 1;
    }
  }
  return found === 0 ? undefined : found;
}

/** `registry.mirror` as `registry.2.mirror.0`: each step with the number of the table that it belongs to. */
function numbered(header: string, counts: Map<string, number>): string {
  const steps = header.split(".");
  let table = "";
  for (const [index, step] of steps.entries()) {
    const name = table === "" ? step : `${table}.${step}`;
    const before = counts.get(name) ?? -1;
    const number = index === steps.length - 1 ? before + 1 : Math.max(before, 0);
    counts.set(name, number);
    table = `${name}.${number}`;
  }
  return table;
}
