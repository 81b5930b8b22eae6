// The repository of a sysroot as cfsctl sees it: after a collection of deployments it is whole, cfsctl's own collection takes nothing from
// a live deployment, and images that were brought up to date are such that it would have made.

import { mkdtempSync, readdirSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { deployGc } from "../../src/deploy/collect.ts";
import { readGcRepository } from "../../src/deploy/gc-read.ts";
import { locateSysroot } from "../../src/deploy/location.ts";
import { migrateFormats } from "../../src/deploy/migrate-formats.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { pull } from "../../src/oci/pull.ts";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { Repository } from "../../src/repository/repository.ts";
import { casesWithRepository, GoldenRepositories } from "../deploy/golden-repository.ts";
import { makeSysroot } from "../deploy/golden-sysroot.ts";
import { forgetImages } from "../deploy/old-image.ts";
import { goldensDir } from "../goldens-dir.ts";
import { describeWithPeers, runPeer } from "../peer.ts";

let work: string;
let repositories: GoldenRepositories;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-deployments-"));
  repositories = new GoldenRepositories(work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function cfsctl(repository: string, ...args: string[]): string {
  const { status, stdout, stderr } = runPeer("cfsctl", ["--insecure", "--repo", repository, ...args]);
  expect(status, `cfsctl ${args.join(" ")}: ${stdout}${stderr}`).toBe(0);
  return stdout;
}

async function contentOf(path: string) {
  await using repository = await Repository.open(path);
  return await readGcRepository(repository);
}

describeWithPeers(["cfsctl"], "deployments and cfsctl", () => {
  const cases = casesWithRepository().filter(({ expect: { plan } }) => plan?.repoAfter !== undefined);

  test.each(cases)("collected: $name", async ({ input }) => {
    const paths = makeSysroot(join(work, `sysroot-${count++}`), input);
    const repository = join(paths.sysroot, "composefs");
    await repositories.make(repository, input);
    const { plan } = await (async () => {
      await using sysroot = await OpenSysroot.open(locateSysroot(paths));
      return await deployGc(sysroot, { pruneBootEntries: input.pruneBootEntries, allowEmpty: input.allowEmpty });
    })();
    const before = await contentOf(repository);
    // A tag of others to nothing stops cfsctl, and is none of ours to remove.
    for (const [tag, manifest] of before.tags)
      if (!before.manifests.has(manifest)) unlinkSync(join(repository, "streams/refs/oci", encodeTag(tag)));
    cfsctl(repository, "fsck");
    cfsctl(repository, "oci", "fsck");

    // Without additional roots, as somebody who does not know of deployments would run it: tags keep what has a manifest.
    cfsctl(repository, "gc");
    const after = await contentOf(repository);
    expect(after.manifests).toEqual(before.manifests);
    const named = new Set([...before.manifests.values()].flatMap(({ images }) => images));
    for (const id of plan.additionalRoots) if (named.has(id)) expect([...after.images]).toContain(id);
    cfsctl(repository, "fsck");
    cfsctl(repository, "oci", "fsck");
  });

  test("an image that was brought up to date is the one that it would have been", async () => {
    const source = `oci:${join(goldensDir("deploy"), "oci")}:host4`;
    const [old, made] = [join(work, "old"), join(work, "made")];
    await Repository.init(old, { algorithm: "sha512", insecure: true });
    let manifest: string;
    {
      await using repository = await Repository.open(old, { write: true });
      manifest = (await pull(repository, source, { tag: "os" })).manifestDigest;
      await forgetImages(repository, manifest);
    }
    cfsctl(old, "oci", "fsck");
    {
      await using repository = await Repository.open(old, { write: true });
      expect(await migrateFormats({ repository })).toEqual([manifest]);
    }
    cfsctl(old, "oci", "fsck");
    cfsctl(old, "gc");
    expect(
      runPeer("cfsctl", ["--insecure", "--repo", made, "init", "--algorithm=fsverity-sha512-12", made]).status,
    ).toBe(0);
    cfsctl(made, "oci", "pull", source, "os");
    cfsctl(made, "gc");
    const listing = (path: string, directory: string) => readdirSync(join(path, directory)).sort();
    expect(listing(old, "images")).toEqual(listing(made, "images"));
    expect(listing(old, "streams")).toEqual(listing(made, "streams"));
    expect(JSON.parse(cfsctl(old, "oci", "inspect", "os"))).toEqual(JSON.parse(cfsctl(made, "oci", "inspect", "os")));
  });
});
