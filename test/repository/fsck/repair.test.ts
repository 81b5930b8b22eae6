// Repair, then a pull: every damaged variant of the goldens becomes whole again, as far as the layout can supply it.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pull } from "../../../src/oci/pull.ts";
import type { FsckReport } from "../../../src/repository/fsck/finding.ts";
import { checkRepository } from "../../../src/repository/fsck/fsck.ts";
import { repairRepository } from "../../../src/repository/fsck/repair.ts";
import { collectGarbage } from "../../../src/repository/gc/collect.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { goldensDir } from "../../goldens-dir.ts";
import { applyOps, goldenRepositories, unpackRepository } from "../golden-repository.ts";

let layout = "";
beforeAll(() => {
  layout = mkdtempSync(join(tmpdir(), "composefs-layout-"));
  execFileSync("tar", ["-xf", join(goldensDir("repository"), "oci-layout.tar"), "-C", layout]);
  // The tar may hold the layout in a folder of its own.
  const [inner] = readdirSync(layout);
  if (!existsSync(join(layout, "index.json"))) layout = join(layout, inner as string);
});
afterAll(() => rmSync(layout, { recursive: true, force: true }));

// Tags of the goldens by repository, and the layout's images behind them.
const TAGS: Record<string, [string, string][]> = {
  "repo-a-sha256.tar": [
    ["app", "example.test/ns/app:v1%2"],
    ["app", "second"],
    ["art", "art"],
  ],
  "repo-b-sha512-dual.tar": [
    ["app", "app"],
    ["base", "base"],
  ],
};

// What is not the repository's is left alone, and what no layout holds cannot come back.
const REMAINS: Record<string, string[]> = {
  "stream-not-symlink": ["entry-not-symlink"],
  "image-not-symlink": ["entry-not-symlink"],
  "ref-not-symlink": ["unexpected-file-type"],
  "bad-object-name": ["object-invalid-name"],
  "short-object-name": ["object-invalid-name"],
  "sha256-named-object": ["object-invalid-name"],
};

const kinds = ({ findings }: FsckReport) =>
  findings.filter(({ severity }) => severity === "error").map(({ kind }) => kind);

const damaged = goldenRepositories().filter(([, { variants = [] }]) => variants.length > 0);
test("some golden repository has damaged variants", () => expect(damaged).not.toEqual([]));

for (const [tar, { variants = [] }] of damaged)
  describe(tar, () => {
    for (const { name, note, ops, fsck } of variants) {
      if (fsck.error) continue;
      test(`${name}: ${note}`, async () => {
        const { path, remove } = unpackRepository(tar);
        try {
          applyOps(path, ops);
          if (name === "meta-missing") await Repository.init(path, { ensure: true });
          if (name === "meta-rocompat") {
            await using readOnly = await Repository.open(path);
            await expect(repairRepository(readOnly)).rejects.toMatchObject({ code: "read-only" });
            return;
          }
          await using repository = await Repository.open(path, { write: true });
          const planned = await repairRepository(repository, { dryRun: true, workers: 0 });
          const { before, plan, after } = await repairRepository(repository, { workers: 0 });
          expect(planned.plan).toEqual(plan);
          expect(before.ok || plan.actions.length + plan.left.length > 0).toBe(true);
          // What remains is what is missing, or not ours.
          for (const kind of kinds(after))
            if (!REMAINS[name]?.includes(kind)) expect(kind).toMatch(/^(missing-|image-missing-object)/);
          const remains = REMAINS[name] ?? [];
          const collectable = remains.every((kind) => kind === "object-invalid-name");
          const dry = await collectGarbage(repository, { dryRun: true });
          if (collectable) expect(dry.plan.problems).toEqual([]);

          for (const [image, tag] of TAGS[tar] ?? [])
            await pull(repository, `oci:${layout}:${image}`, { tag, platform: { os: "linux", architecture: "amd64" } });
          if (collectable) await collectGarbage(repository);
          const healed = await checkRepository(repository, { workers: 0 });
          const lost = kinds(healed).filter((kind) => !remains.includes(kind));
          // Objects that only an image made from a directory has cannot come back.
          expect(lost, JSON.stringify(healed.findings)).toEqual([]);
        } finally {
          remove();
        }
      });
    }
  });

describe("single repairs", () => {
  async function withGolden(use: (path: string, repository: Repository) => Promise<void>): Promise<void> {
    const { path, remove } = unpackRepository("repo-a-sha256.tar");
    try {
      await using repository = await Repository.open(path, { write: true });
      await use(path, repository);
    } finally {
      remove();
    }
  }
  const layer = "oci-layer-sha256:62701240d555f954f57dc8f4685cc2ee5fa936502651fd212069ebc6da6c0721";
  const manifest = "oci-manifest-sha256:44a08a21146dca501a4c1a5628c739fb27e9e02a5e60abf1fa97c51607a83845";

  test("nothing to do changes nothing", () =>
    withGolden(async (_path, repository) => {
      const { plan, before, after, restore } = await repairRepository(repository);
      expect([plan.actions, plan.left, restore]).toEqual([[], [], []]);
      expect(after).toBe(before);
    }));

  test("lost links are derived from what names and holds them: layer, manifest, image", () =>
    withGolden(async (path, repository) => {
      const image = "4a5b7b66462515e867aca448a616e08749273af024487ee879dd0c193a1d4651";
      const links = [`streams/${layer}`, `streams/${manifest}`];
      const targets = links.map((link) => repository.resolveStream(link.slice(8)).id);
      for (const link of [...links, `images/${image}`]) rmSync(join(path, link));
      symlinkSync("nowhere", join(path, "streams", layer));
      symlinkSync("../objects/00/wrong", join(path, "images", image));
      const { plan, after } = await repairRepository(repository);
      expect(plan.actions.map(({ action }) => action)).toEqual(["relink", "relink", "relink"]);
      expect(after.ok).toBe(true);
      expect(links.map((link) => repository.resolveStream(link.slice(8)).id)).toEqual(targets);
      expect(repository.resolveImage(image).id).toBe(image);
    }));

  test("refs that lead astray are put right when their entry is there, else dropped; names stay inside", () =>
    withGolden(async (path, repository) => {
      symlinkSync(`../../../x/${manifest}`, join(path, "streams/refs/oci/crooked"));
      symlinkSync("/etc/passwd", join(path, "streams/refs/oci/outside"));
      const { plan, after } = await repairRepository(repository);
      expect(plan.actions.map(({ action, path: at }) => `${action} ${at}`)).toEqual([
        "relink streams/refs/oci/crooked",
        "drop-ref streams/refs/oci/outside",
      ]);
      expect(after.ok).toBe(true);
      expect(repository.ref("streams", "oci/crooked")).toBe(manifest);
      expect(readFileSync("/etc/passwd").length).toBeGreaterThan(0);
    }));

  test("says which refs have to be pulled again", () =>
    withGolden(async (_path, repository) => {
      const { objectRefs } = await repository.openStream(layer);
      writeFileSync(repository.objectPath(objectRefs[0] as string), "damage");
      const { restore, plan } = await repairRepository(repository);
      expect(plan.actions.map(({ action }) => action)).toEqual(["drop-object"]);
      expect(restore).toEqual(["oci/example.test%2Fns%2Fapp:v1%252", "oci/second"]);
    }));
});
