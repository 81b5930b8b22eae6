// Tables: boxes on a terminal (docs/spec/cli-cfsctl.md, section 1.3), aligned columns elsewhere.

/** Draws rows below a head line; `boxes` chooses the form. Ends with a line feed. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[], boxes: boolean): string {
  const widths = head.map((title, column) => Math.max(width(title), ...rows.map((row) => width(row[column] ?? ""))));
  const cells = (row: readonly string[]) => widths.map((size, column) => pad(row[column] ?? "", size));
  if (!boxes) return [head, ...rows].map((row) => `${cells(row).join("  ").trimEnd()}\n`).join("");
  const rule = (left: string, fill: string, middle: string, right: string) =>
    `${left}${widths.map((size) => fill.repeat(size + 2)).join(middle)}${right}`;
  const line = (row: readonly string[]) => `│ ${cells(row).join(" ┆ ")} │`;
  const body = rows.map(line).join(`\n${rule("├", "╌", "┼", "┤")}\n`);
  return `${[rule("┌", "─", "┬", "┐"), line(head), rule("╞", "═", "╪", "╡"), body, rule("└", "─", "┴", "┘")].join("\n")}\n`;
}

// Code points, not columns: names here are tags and digests.
function width(text: string): number {
  return Array.from(text).length;
}

function pad(text: string, size: number): string {
  return text + " ".repeat(Math.max(0, size - width(text)));
}
