// The plan of a garbage collection on real repositories: the goldens once more, and then what the repository's own collection leaves.

import { mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planDeployGc } from "../../src/deploy/gc.ts";
import { readBootBinaries, readGcRepository } from "../../src/deploy/gc-read.ts";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { listTags } from "../../src/oci/tags.ts";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import { casesWithRepository, type GcInput, GoldenRepositories, setTag } from "./golden-repository.ts";
import { sysrootState } from "./golden-state.ts";

let work: string;
let count = 0;
let repositories: GoldenRepositories;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-gc-read-"));
  repositories = new GoldenRepositories(work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const cases = casesWithRepository().filter(({ expect: { plan } }) => plan?.repoAfter !== undefined);

test("most goldens have a repository that can be made", () => {
  expect(cases.length).toBeGreaterThan(25);
});

test.each(cases)("golden: $name", async ({ input, expect: { plan: expected } }) => {
  const path = join(work, `repository-${count++}`);
  await repositories.make(path, input);
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  const found = await readGcRepository(repository);
  const boot = input.boot as GcInput["boot"] & { type1Dirs?: string[]; ukiFiles?: string[] };
  const files = { kernelDirectories: boot.type1Dirs ?? [], ukiFiles: boot.ukiFiles ?? [] };
  const { plan } = planDeployGc(sysrootState(input), files, found, {
    pruneBootEntries: input.pruneBootEntries,
    allowEmpty: input.allowEmpty,
  });
  // The container storage is not read here.
  expect({ ...plan, pruneContainerImages: [] }).toEqual({ ...expected, pruneContainerImages: [] });

  // What the plan says of tags, then the collection of the repository. Tags to nothing would stop it.
  for (const tag of plan.removeTags) unlinkSync(join(path, "streams/refs/oci", encodeTag(tag)));
  for (const [tag, manifest] of plan.createTags) setTag(path, tag, manifest);
  for (const { name, manifestDigest } of listTags(repository))
    if (!found.manifests.has(manifestDigest)) unlinkSync(join(path, "streams/refs/oci", encodeTag(name)));
  await collectGarbage(repository, { roots: plan.additionalRoots.filter((id) => found.images.has(id)) });
  const after = await readGcRepository(repository);
  expect([...after.manifests.keys()].sort()).toEqual(plan.repoAfter?.manifests);
  expect([...after.images].sort()).toEqual(plan.repoAfter?.images);
  rmSync(path, { recursive: true });
});

test("boot files are read from where the boot loader has them", () => {
  const sysroot = join(work, "boot-files");
  for (const directory of [
    "boot/bootc_composefs-a",
    "esp/EFI/Linux/bootc/x.efi.extra.d",
    "esp/EFI/Linux/bootc_composefs-b",
  ])
    mkdirSync(join(sysroot, directory), { recursive: true });
  for (const file of ["boot/bootc_composefs-file", "esp/EFI/Linux/bootc/x.efi"]) writeFileSync(join(sysroot, file), "");
  const esp = join(sysroot, "esp");
  const ukiFiles = ["x.efi", "x.efi.extra.d"];
  expect(readBootBinaries({ sysroot }, "grub")).toEqual({ kernelDirectories: ["bootc_composefs-a"], ukiFiles: [] });
  expect(readBootBinaries({ sysroot, esp }, "grub")).toEqual({ kernelDirectories: ["bootc_composefs-a"], ukiFiles });
  const systemd = { kernelDirectories: ["bootc", "bootc_composefs-b"], ukiFiles };
  expect(readBootBinaries({ sysroot, esp }, "systemd")).toEqual(systemd);
  expect(readBootBinaries({ sysroot, boot: esp }, "grub-cc")).toEqual(systemd);
  expect(readBootBinaries({ sysroot }, "systemd")).toEqual({ kernelDirectories: [], ukiFiles: [] });
});
