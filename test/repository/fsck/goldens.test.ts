// goldens/repository: what fsck finds in whole and in damaged repositories, compared with what the reference found.

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Finding, type FsckReport, findingMessage } from "../../../src/repository/fsck/finding.ts";
import { checkRepository } from "../../../src/repository/fsck/fsck.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { applyOps, type GoldenFsck, goldenRepositories, pathsBelow, unpackRepository } from "../golden-repository.ts";

// Kinds that the reference does not know.
const OWN = new Set([
  "stream-body-invalid",
  "stream-size-mismatch",
  "stream-misnamed",
  "image-misnamed",
  "ref-misdirected",
  "stray-file",
  "leftover",
]);

// What is found beyond the reference, by variant: kinds in a full check, then with metadata only.
const BEYOND: Record<string, [string[], string[]]> = {
  "flip-file-byte": [[], []],
  "truncate-file": [[], ["stream-size-mismatch"]],
  "empty-file": [[], ["stream-size-mismatch"]],
  "stream-magic": [[], []],
  "stream-flags": [[], ["stream-body-invalid"]],
  "stream-body": [["stream-body-invalid"], ["stream-body-invalid", "stream-body-invalid"]],
  "stream-objref": [[], ["stream-body-invalid"]],
  "tmp-in-objects-root": [["leftover"], ["leftover"]],
  "tmp-symlink-in-root": [["leftover"], ["leftover"]],
  "stream-link-retargeted": [["stream-misnamed"], []],
  "image-link-misnamed": [["image-misnamed"], ["image-misnamed"]],
  "image-link-to-file": [[], []],
};

let variants = 0;

for (const [tar, golden] of goldenRepositories())
  describe(tar, () => {
    const runs = [
      { title: "whole", ops: [], fsck: golden.fsck, metadata: golden.fsck_metadata_only, beyond: undefined },
      ...(golden.variants ?? []).map(({ name, note, ops, fsck, fsck_metadata_only }) => ({
        title: `variant ${name}: ${note}`,
        ops,
        fsck,
        metadata: fsck_metadata_only,
        beyond: BEYOND[name],
      })),
    ];
    for (const { title, ops, fsck, metadata, beyond } of runs)
      test(title, async () => {
        if (ops.length > 0) variants++;
        const { path, remove } = unpackRepository(tar);
        try {
          applyOps(path, ops);
          const before = snapshot(path);
          if (fsck.error) {
            await expect(Repository.open(path)).rejects.toMatchObject({ name: "ComposefsError" });
            return;
          }
          await using repository = await Repository.open(path);
          // The reference has upgraded what it opened; we have not.
          const upgraded = !repository.hasMeta;
          compare(await checkRepository(repository, { workers: 0 }), fsck, beyond?.[0] ?? [], upgraded);
          if (metadata)
            compare(await checkRepository(repository, { metadataOnly: true }), metadata, beyond?.[1] ?? [], upgraded);
          expect(snapshot(path)).toEqual(before);
        } finally {
          remove();
        }
      });
  });

test("there were variants", () => {
  expect(variants).toBeGreaterThanOrEqual(48);
});

function compare(report: FsckReport, golden: GoldenFsck, beyond: readonly string[], upgraded: boolean): void {
  const expected = golden.json;
  if (!expected) throw new Error("the golden has no result");
  const shared = report.findings.filter(({ kind }) => !OWN.has(kind));
  expect(shared.map(comparable).toSorted()).toEqual(expected.errors.map(comparableText).toSorted());
  const own = report.findings.filter(({ kind }) => OWN.has(kind));
  expect(own.map(({ kind }) => kind).toSorted()).toEqual([...beyond].toSorted());
  const errors = report.findings.filter(({ severity }) => severity === "error");
  expect(report.ok).toBe(errors.length === 0);
  if (beyond.length === 0 || own.every(({ severity }) => severity === "warning")) expect(report.ok).toBe(expected.ok);
  expect(report.hasMetadata).toBe(upgraded ? false : expected["has_metadata"]);
  const { streams_corrupted, images_corrupted, ...others } = report.counters;
  expect(expected).toMatchObject(others);
  const count = (kinds: string) => own.filter(({ kind }) => kind.startsWith(kinds)).length;
  expect(streams_corrupted).toBe((expected["streams_corrupted"] as number) + count("stream-"));
  expect(images_corrupted).toBe((expected["images_corrupted"] as number) + count("image-"));
}

// Only the kind, the path and the ids are contractual: other details are the reference's own wording.
function comparable(finding: Finding): string {
  return comparableText(findingMessage(finding));
}

function comparableText(text: string): string {
  const [, kind = "", rest = ""] = /^fsck: ([a-z-]+): (.*)$/s.exec(text) ?? [];
  const hasDetail = !/^(missing-|image-missing-object|object-digest-mismatch|broken-symlink|entry-not-symlink)/.test(
    kind,
  );
  return `${kind}: ${hasDetail ? rest.replace(/^([^ ]+?): .*$/s, "$1") : rest}`;
}

function snapshot(root: string): [string, number][] {
  return pathsBelow(root).map((path) => [path, lstatSync(join(root, path)).mtimeMs]);
}
