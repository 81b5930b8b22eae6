// Requirement S6 (docs/spec/deployments.md, section 1): what only looks at a sysroot, or works on what it has, must do without any
// network. None of it can even load what opens a connection.

import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const source = fileURLToPath(new URL("../../src", import.meta.url));

/** All files below src that one loads, sooner or later. Types are not loaded. */
function loadedBy(entry: string): Set<string> {
  const found = new Set<string>();
  const pending = [entry];
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    const text = readFileSync(join(source, file), "utf8");
    for (const [, type, path = ""] of text.matchAll(
      /(?:import|export)\s+(type\s+)?[^;"']*?from\s+"(\.[^"]+\.ts)"|import\(\s*"(?:\.[^"]+\.ts)"/g,
    ))
      if (type === undefined && path !== "") pending.push(relative(source, join(source, dirname(file), path)));
    for (const [, path = ""] of text.matchAll(/import\(\s*"(\.[^"]+\.ts)"/g))
      pending.push(relative(source, join(source, dirname(file), path)));
  }
  return found;
}

const opensConnections = (file: string) => file === "oci/source/open.ts" || file.startsWith("oci/registry/");

test.each([
  "deploy/host.ts",
  "deploy/sysroot.ts",
  "deploy/collect.ts",
  "deploy/carry-out-rollback.ts",
  "deploy/delete-deployment.ts",
  "deploy/finalize.ts",
  "deploy/check/check.ts",
])("%s loads nothing that opens a connection", (file) => {
  const loaded = loadedBy(file);
  expect(loaded.size).toBeGreaterThan(3);
  expect([...loaded].filter(opensConnections)).toEqual([]);
});

test.each(["deploy/install.ts", "deploy/upgrade.ts", "deploy/switch.ts"])("%s may", (file) => {
  expect([...loadedBy(file)].filter(opensConnections)).toContain("oci/source/open.ts");
});
