// The plan of a garbage collection on real repositories: the goldens once more, and then what the repository's own collection leaves.

import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planDeployGc } from "../../src/deploy/gc.ts";
import { readBootBinaries, readGcRepository } from "../../src/deploy/gc-read.ts";
import { pull } from "../../src/oci/pull.ts";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { listTags } from "../../src/oci/tags.ts";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { deployCases } from "./deploy-goldens.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

interface GcInput extends GoldenState {
  readonly pruneRepo: boolean;
  readonly allowEmpty?: boolean;
  readonly pruneBootEntries?: boolean;
  readonly repo: {
    readonly tags: Record<string, string>;
    readonly manifests: Record<string, { readonly name: string; readonly refs: Record<string, string> }>;
    readonly images: string[];
  };
}

interface Expected {
  readonly plan?: {
    readonly createTags: [string, string][];
    readonly removeTags: string[];
    readonly additionalRoots: string[];
    readonly repoAfter?: { readonly manifests: string[]; readonly images: string[] };
  };
}

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-gc-read-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const bases = new Map<string, Promise<string>>();
function baseWith(names: string[]): Promise<string> {
  const key = names.sort().join();
  const made = bases.get(key) ?? makeBase(names);
  bases.set(key, made);
  return made;
}

async function makeBase(names: string[]): Promise<string> {
  const path = join(work, `base-${count++}`);
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  for (const name of names) {
    const source = `oci:${join(goldensDir("deploy"), "oci")}:${name}`;
    await pull(repository, source, { tag: name, bootable: name.startsWith("host") });
    unlinkSync(join(path, "streams/refs/oci", name));
  }
  return path;
}

const setTag = (path: string, tag: string, manifest: string) =>
  symlinkSync(`../../oci-manifest-${manifest}`, join(path, "streams/refs/oci", encodeTag(tag)));

/** Cases whose repository is the one that pulls make: in some, images are there without their manifests. */
const cases = deployCases<GcInput, Expected>("gc").filter(({ input, expect: { plan } }) => {
  const referred = new Set(Object.values(input.repo.manifests).flatMap(({ refs }) => Object.values(refs)));
  return plan?.repoAfter !== undefined && input.repo.images.every((id) => referred.has(id));
});

test("most goldens have a repository that can be made", () => {
  expect(cases.length).toBeGreaterThan(25);
});

test.each(cases)("golden: $name", async ({ input, expect: { plan: expected } }) => {
  const path = join(work, `repository-${count++}`);
  cpSync(await baseWith(Object.values(input.repo.manifests).map(({ name }) => name)), path, {
    recursive: true,
    verbatimSymlinks: true,
  });
  for (const [tag, manifest] of Object.entries(input.repo.tags)) setTag(path, tag, manifest);
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
