// Pieces of the scripts that the guest runs, and what reads their output.

import { expect } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";

/** Prints the digest that the kernel keeps for meta.json and for every object of the repository that is the current directory. */
export const MEASURE = "find meta.json objects -type f -exec fsverity measure {} \\;";

/** Prints the overlays that are mounted. */
export const SHOW_OVERLAYS = "grep ' - overlay ' /proc/self/mountinfo || true";

/** Prints every file below /mnt that cannot be read to its end, with the reason. */
export const UNREADABLE = `cd /mnt && find usr -type f | sort | while read -r file; do
  cat "$file" >/dev/null 2>/tmp/reason || echo "$file: $(sed 's/.*: //' /tmp/reason)"
done`;

/** Expects of the output of {@link MEASURE} that there are objects, and that the kernel's digest of each is its name. */
export function expectNamedByKernel(output: string, algorithm: Algorithm): string[] {
  const objects = [...output.matchAll(/^(\S+) (objects\/.*)$/gm)].map(([, measured, path = ""]) => ({
    measured,
    path,
  }));
  expect(objects.length).toBeGreaterThan(5);
  for (const { measured, path } of objects) expect(measured).toBe(`${algorithm}:${path.replaceAll(/objects|\//g, "")}`);
  return objects.map(({ path }) => path);
}

/** The lines of an output that is not empty. */
export function lines(output: string): string[] {
  return output.trim().split("\n");
}

interface Report {
  findings: { kind: string; path: string; detail?: string }[];
}

/** What `fsck --json` says of objects, by their paths; with `--repair`, what it found before. */
export function reportedObjects(json: string): Map<string, string> {
  const report = JSON.parse(json) as Report | { before: Report };
  const { findings } = "before" in report ? report.before : report;
  return new Map(
    findings
      .filter(({ path }) => path.startsWith("objects/"))
      .map(({ kind, path, detail }) => [path, detail === undefined ? kind : `${kind}: ${detail}`]),
  );
}
