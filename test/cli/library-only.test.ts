// The command line holds nothing that a program could miss: whatever it takes from the library is exported by index.ts.
// It imports from the files where things lie, not from index.ts, because loading all of the library takes 100 ms.

import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const source = fileURLToPath(new URL("../../src", import.meta.url));
const files = (readdirSync(join(source, "cli"), { recursive: true }) as string[]).filter((name) =>
  name.endsWith(".ts"),
);
const namesIn = (list: string) =>
  list
    .split(",")
    .map((name) =>
      (
        name
          .trim()
          .replace(/^type /, "")
          .split(/\s+as\s+|:/)[0] ?? ""
      ).trim(),
    )
    .filter((name) => name !== "");

/** What index.ts exports: file below src to names. */
const exported = new Map<string, string[]>();
for (const [, list = "", path = ""] of readFileSync(join(source, "index.ts"), "utf8").matchAll(
  /export (?:type )?\{([^}]+)\} from "\.\/([^"]+)"/g,
)) {
  exported.set(path, [...(exported.get(path) ?? []), ...namesIn(list)]);
}

/** What a file takes from outside of cli: pairs of file below src and name; `*` for what cannot be told. */
function taken(file: string): [string, string][] {
  const text = readFileSync(join(source, "cli", file), "utf8");
  const found: [string, string][] = [];
  let specifiers = 0;
  for (const [, path = ""] of text.matchAll(/(?:from|import\(?)\s*"(\.[^"]+)"/g)) {
    if (!relative(join(source, "cli"), join(source, "cli", file, "..", path)).startsWith("..")) continue;
    specifiers++;
  }
  const forms = [
    /import (?:type )?\{([^}]+)\} from "(\.[^"]+)"/g,
    /const \{([^}]+)\} = await import\(\s*"(\.[^"]+)",?\s*\)/g,
    /import type (\* as library) from "(\.[^"]+)"/g,
  ];
  let understood = 0;
  for (const form of forms) {
    for (const [, list = "", path = ""] of text.matchAll(form)) {
      const target = relative(source, join(source, "cli", file, "..", path));
      if (target.startsWith("cli/")) continue;
      understood++;
      if (target === "index.ts") continue;
      for (const name of namesIn(list)) found.push([target, name]);
    }
  }
  if (understood !== specifiers) found.push([`${specifiers - understood} imports in ${file} that cannot be told`, "*"]);
  return found;
}

describe("the command line", () => {
  it("is there", () => expect(files.length).toBeGreaterThan(25));

  it.each(files)("%s takes only what index.ts exports", (file) => {
    for (const [path, name] of taken(file)) expect(exported.get(path) ?? `nothing of ${path}`).toContain(name);
  });

  it("takes something", () => expect(files.flatMap(taken).length).toBeGreaterThan(15));
});
