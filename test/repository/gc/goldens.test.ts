// goldens/repository: what a collection removes, compared with what the reference removed.

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { collectGarbage } from "../../../src/repository/gc/collect.ts";
import type { GcPlan } from "../../../src/repository/gc/plan.ts";
import { Repository } from "../../../src/repository/repository.ts";
import {
  applyOps,
  type GoldenVariant,
  goldenRepositories,
  pathsBelow,
  unpackRepository,
} from "../golden-repository.ts";

const removedPaths = (plan: GcPlan) =>
  [...plan.objects.map(({ path }) => path), ...plan.streams, ...plan.images].toSorted();

const files = (root: string): string[] =>
  pathsBelow(root)
    .filter((path) => !lstatSync(join(root, path)).isDirectory())
    .toSorted();

// Streams are verified before they are believed: with a damaged one nothing is deleted, where the reference goes on.
const REFUSED_BY_US = new Set(["stream-flags", "stream-body", "stream-objref"]);
// Files that are not the repository's are left alone and reported, where the reference stops half-way.
const LEFT_ALONE_BY_US: Record<string, string> = {
  "bad-object-name": "objects/ab/README",
  "short-object-name": "objects/ab/",
  "sha256-named-object": "objects/63/ff77",
};

let variants = 0;

for (const [tar, golden] of goldenRepositories())
  describe(tar, () => {
    test("the plan is what the reference removes, and predicts the links", async () => {
      const { path, remove } = unpackRepository(tar);
      try {
        await using repository = await Repository.open(path);
        const { plan, objectBytes } = await collectGarbage(repository, { dryRun: true });
        expect(plan.problems).toEqual([]);
        expect(removedPaths(plan)).toEqual(golden.gc.removed_paths);
        expect(plan.objects.length).toBe(golden.gc.real.objects_removed);
        expect(objectBytes).toBe(golden.gc.real.objects_bytes);
        expect(plan.images.length).toBe(golden.gc.real.images_pruned);
        expect(plan.streams.length).toBe(golden.gc.real.streams_pruned);
        expect(plan.kept).toBe(golden.gc.fsck_after.json?.["objects_checked"]);
      } finally {
        remove();
      }
    });

    test("carried out, it removes exactly that, and a second time nothing", async () => {
      const { path, remove } = unpackRepository(tar);
      try {
        if (golden.meta_json_after_auto_upgrade) await Repository.init(path, { ensure: true });
        const before = files(path);
        await using repository = await Repository.open(path, { write: true });
        const result = await collectGarbage(repository);
        const after = files(path);
        expect(before.filter((file) => !after.includes(file))).toEqual(golden.gc.removed_paths);
        expect(after.filter((file) => !before.includes(file))).toEqual([]);
        for (const directory of result.directories)
          expect(() => lstatSync(join(path, directory))).toThrowError(/ENOENT/);
        const again = await collectGarbage(repository);
        expect(removedPaths(again.plan)).toEqual([]);
        expect(again.directories).toEqual([]);
        for (const name of Object.keys(golden.streams))
          if (!golden.gc.removed_paths.includes(`streams/${name}`)) await repository.cat(name, () => {});
      } finally {
        remove();
      }
    });

    for (const [root, expected] of Object.entries(golden.extra_roots ?? {}))
      test(`with the extra root ${root}`, async () => {
        const { path, remove } = unpackRepository(tar);
        try {
          await using repository = await Repository.open(path);
          const collect = collectGarbage(repository, { dryRun: true, roots: [root] });
          if (root === "nonexistent-root") {
            await expect(collect).rejects.toMatchObject({ code: "not-found" });
          } else {
            const { plan, objectBytes } = await collect;
            expect(plan.objects.length).toBe(expected.objects_removed);
            expect(objectBytes).toBe(expected.objects_bytes);
          }
        } finally {
          remove();
        }
      });

    for (const variant of golden.variants ?? [])
      test(`variant ${variant.name}: ${variant.note}`, async () => {
        variants++;
        const { path, remove } = unpackRepository(tar);
        try {
          applyOps(path, variant.ops);
          const before = files(path);
          await checkVariant(path, variant, golden.gc.real);
          expect(files(path)).toEqual(before);
        } finally {
          remove();
        }
      });
  });

test("there were variants", () => {
  expect(variants).toBe(goldenRepositories().reduce((sum, [, { variants: list = [] }]) => sum + list.length, 0));
  expect(variants).toBeGreaterThanOrEqual(48);
});

async function checkVariant(
  path: string,
  { name, gc_dry_run: expected, fsck }: GoldenVariant,
  real: { streams_pruned?: number; images_pruned?: number },
): Promise<void> {
  if (fsck.error) {
    await expect(Repository.open(path)).rejects.toMatchObject({ name: "ComposefsError" });
    return;
  }
  await using repository = await Repository.open(path);
  const { plan, objectBytes } = await collectGarbage(repository, { dryRun: true });
  const alone = LEFT_ALONE_BY_US[name];
  if (alone !== undefined) {
    expect(expected.rc).toBe(1);
    expect(plan.problems).toEqual([]);
    expect(plan.foreign).toEqual([expect.stringContaining(alone)]);
  } else if (expected.rc !== 0 || REFUSED_BY_US.has(name)) {
    expect(plan.problems).not.toEqual([]);
    for (const { path: at, message } of plan.problems)
      expect(`${at}: ${message}`).toMatch(/^(streams|images)\/.+: .{10}/);
    await expect(collectGarbage(repository)).rejects.toMatchObject({ code: "corrupt", hint: expect.any(String) });
  } else {
    expect(plan.problems).toEqual([]);
    expect(plan.objects.length).toBe(expected.objects_removed);
    expect(objectBytes).toBe(expected.objects_bytes);
    // A dry run of the reference counts what dangles already, not what will.
    expect(plan.images.length).toBe((expected.images_pruned as number) + (real.images_pruned as number));
    expect(plan.streams.length).toBe((expected.streams_pruned as number) + (real.streams_pruned as number));
  }
}
