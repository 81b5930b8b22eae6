// What others may do while fsck runs, which holds the shared lock as they do.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Findings } from "../../../src/repository/fsck/finding.ts";
import { checkRefs } from "../../../src/repository/fsck/links.ts";
import { takeInventory } from "../../../src/repository/gc/inventory.ts";

const root = mkdtempSync(join(tmpdir(), "composefs-links-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a tag that is taken away meanwhile is no damage; one that leads nowhere is", () => {
  mkdirSync(join(root, "streams/refs/oci"), { recursive: true });
  writeFileSync(join(root, "streams/there"), "");
  for (const [name, target] of [
    ["taken", "gone"],
    ["dangling", "gone"],
    ["good", "there"],
  ])
    symlinkSync(`../../${target}`, join(root, `streams/refs/oci/${name}`));
  const inventory = takeInventory(root, "sha256");
  unlinkSync(join(root, "streams/refs/oci/taken"));
  const findings = new Findings();
  checkRefs(root, "streams", inventory.streams, findings);
  expect(findings.sorted().map(({ kind, path }) => `${kind} ${path}`)).toEqual([
    "broken-symlink streams/refs/oci/dangling",
  ]);
});
