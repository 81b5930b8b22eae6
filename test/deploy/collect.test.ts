// The collection of deployments carried out on real sysroots: every golden that can be laid out on a disk, then what no golden shows.

import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { assertCollected, deployGc, deployGcDryRun } from "../../src/deploy/collect.ts";
import { readGcRepository } from "../../src/deploy/gc-read.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { Repository } from "../../src/repository/repository.ts";
import { casesWithRepository, type GcInput, GoldenRepositories } from "./golden-repository.ts";
import { makeSysroot, write } from "./golden-sysroot.ts";

let work: string;
let repositories: GoldenRepositories;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-collect-"));
  repositories = new GoldenRepositories(work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function sysrootOf(input: GcInput): Promise<SysrootPaths & { readonly sysroot: string }> {
  const paths = makeSysroot(join(work, `sysroot-${count++}`), input);
  await repositories.make(join(paths.sysroot, "composefs"), input);
  return paths;
}

const optionsOf = ({ pruneRepo, pruneBootEntries, allowEmpty }: GcInput) => ({
  pruneRepository: pruneRepo,
  pruneBootEntries,
  allowEmpty,
});

async function dryRun(paths: SysrootPaths, options = {}) {
  const location = locateSysroot(paths);
  await using repository = await Repository.open(location.repository);
  return await deployGcDryRun(location, repository, options);
}

async function collect(paths: SysrootPaths, options = {}) {
  await using sysroot = await OpenSysroot.open(locateSysroot(paths));
  return await deployGc(sysroot, options);
}

/** Every path below a directory with its content, links by their targets. */
function listing(root: string, below = ""): string[] {
  return readdirSync(join(root, below))
    .sort()
    .flatMap((name) => {
      const path = below === "" ? name : `${below}/${name}`;
      const stat = lstatSync(join(root, path));
      if (stat.isSymbolicLink()) return [`${path} -> ${readlinkSync(join(root, path))}`];
      if (!stat.isDirectory()) return [`${path} ${readFileSync(join(root, path), "hex")}`];
      return [`${path}/`, ...listing(root, path)];
    });
}

const cases = casesWithRepository();
const withoutStorage = <T extends object>(plan: T) => ({ ...plan, pruneContainerImages: [] });

test("most goldens can be laid out", () => {
  expect(cases.length).toBeGreaterThan(30);
});

test.each(cases)("golden: $name", async ({ input, expect: { plan: expected, warnings, error } }) => {
  const paths = await sysrootOf(input);
  const options = optionsOf(input);
  const before = listing(paths.sysroot);
  if (error !== undefined) {
    await expect(dryRun(paths, options)).rejects.toMatchObject({ reason: error });
    await expect(collect(paths, options)).rejects.toMatchObject({ reason: error });
    expect(listing(paths.sysroot).filter((line) => line !== "state/" && line !== "state/deploy/")).toEqual(
      before.filter((line) => line !== "state/" && line !== "state/deploy/"),
    );
    return;
  }
  const dry = await dryRun(paths, options);
  expect(listing(paths.sysroot)).toEqual(before);
  const done = await collect(paths, options);
  expect({ ...done, dryRun: true }).toEqual(dry);
  expect(withoutStorage(done.plan)).toEqual(withoutStorage(expected ?? {}));
  expect(done.warnings).toEqual(warnings);

  for (const id of done.plan.removeStateDirs) expect(existsSync(join(paths.sysroot, "state/deploy", id))).toBe(false);
  for (const id of Object.keys(input.state))
    expect(existsSync(join(paths.sysroot, "state/deploy", id))).toBe(!done.plan.removeStateDirs.includes(id));
  const left = listing(paths.sysroot).join("\n");
  for (const name of done.plan.removeBootBinaries) expect(left).not.toContain(name);
  if (done.plan.repoAfter) {
    await using repository = await Repository.open(join(paths.sysroot, "composefs"));
    const after = await readGcRepository(repository);
    expect([...after.manifests.keys()].sort()).toEqual(expected?.repoAfter?.manifests);
    expect([...after.images].sort()).toEqual(expected?.repoAfter?.images);
  }
  // Nothing is left for another one; entries that were removed may have released kernels.
  if (done.plan.removeBootEntries?.length) await collect(paths, options);
  assertCollected(await dryRun(paths, options), paths.sysroot);
});

describe("besides the goldens", () => {
  const golden = () => {
    const input = cases.find(({ name }) => name === "old-deployment-falls-out")?.input as GcInput;
    return {
      input,
      old: "4c27143fba930ec9a43766e7af8ef9ccd0566267fe15603221038c0e1de8b6f368e03d0a2af0b8e01ebe54be1e889c6161303ac583f4d26aae3f93aab614e770",
    };
  };

  test("state directories go whole: names that are no text, trees too deep for a path, links that are not followed", async () => {
    const { input, old } = golden();
    const paths = await sysrootOf(input);
    const state = join(paths.sysroot, "state/deploy");
    const shared = join(paths.sysroot, "state/os/default/var");
    write(join(shared, "lib/data"), "shared");
    symlinkSync("../../os/default/var", join(state, old, "var"));
    symlinkSync(shared, join(state, "link"));
    writeFileSync(join(state, "a file"), "");
    mkdirSync(join(state, old, "etc/closed"), { recursive: true, mode: 0o500 });
    const script = `
      const fs = require("node:fs");
      process.chdir(${JSON.stringify(join(state, old, "etc"))});
      fs.mkdirSync(Buffer.from([0xff, 0x2f, 0xfe]), { recursive: true });
      fs.writeFileSync(Buffer.from([0xff, 0x2f, 0xfd]), "");
      fs.mkdirSync(Buffer.from([...Buffer.from(${JSON.stringify(`${state}/`)}), 0xe9, 0x2f, 0x61]), { recursive: true });
      for (let i = 0; i < 60; i++) { fs.mkdirSync("d".repeat(200)); process.chdir("d".repeat(200)); fs.writeFileSync("f", ""); }`;
    // Only Node makes names that are no text.
    const isNode = process.versions["deno"] === undefined && process.versions["bun"] === undefined;
    execFileSync(isNode ? process.execPath : "node", ["-e", script]);
    const { plan } = await collect(paths);
    expect(plan.removeStateDirs).toEqual([old, "link", "\ufffd"]);
    expect(readdirSync(state, "buffer").map(String).sort()).toEqual(
      [...Object.keys(input.state).filter((id) => id !== old), "a file"].sort(),
    );
    expect(readFileSync(join(shared, "lib/data"), "utf8")).toBe("shared");
    assertCollected(await dryRun(paths), paths.sysroot);
  });

  test("unfinished files go when they are an hour old", async () => {
    const { input } = golden();
    const paths = await sysrootOf(input);
    await collect(paths);
    const [live] = Object.keys(input.state).slice(-1);
    const temporary = ".composefs-0123456789abcdef";
    const files = ["boot", "boot/loader/entries", `state/deploy/${live}`, "run/composefs"].map((directory) =>
      join(paths.sysroot, directory, temporary),
    );
    for (const file of files) write(file, "half");
    write(join(paths.sysroot, "boot/loader/.composefs-staging/a.conf"), "half");
    write(join(paths.sysroot, "boot/.composefs-fedcba9876543210"), "still at work");
    const before = new Date(Date.now() - 4_000_000);
    for (const file of [...files, join(paths.sysroot, "boot/loader/.composefs-staging")])
      utimesSync(file, before, before);
    const dry = await dryRun(paths);
    const { leftovers } = dry;
    expect([...leftovers].sort()).toEqual([...files, join(paths.sysroot, "boot/loader/.composefs-staging")].sort());
    expect(() => assertCollected(dry, paths.sysroot)).toThrow(expect.objectContaining({ reason: "E_GC_NOT_CLEAN" }));
    expect((await collect(paths)).leftovers).toEqual(leftovers);
    for (const file of files) expect(existsSync(file)).toBe(false);
    expect(existsSync(join(paths.sysroot, "boot/.composefs-fedcba9876543210"))).toBe(true);
  });

  test("an image of others that is damaged stops nothing, one of a deployment does", async () => {
    const { input } = golden();
    const paths = await sysrootOf(input);
    const repository = join(paths.sysroot, "composefs");
    const damage = (manifest: string) => {
      const object = join(repository, "streams", readlinkSync(join(repository, `streams/oci-manifest-${manifest}`)));
      rmSync(object);
      writeFileSync(object, "damaged");
    };
    damage(input.repo.tags["apps/web:1"] ?? "");
    const dry = await dryRun(paths);
    expect(dry.warnings).toContainEqual({ code: "W_DANGLING_TAG", tag: "apps/web:1" });
    const done = await collect(paths);
    expect({ ...done, dryRun: true }).toEqual(dry);
    expect(readdirSync(join(repository, "streams/refs/oci"))).toContain("apps%2Fweb:1");

    // A layer of the booted deployment: what it needs beyond that cannot be found.
    const [manifest] = done.plan.liveManifests;
    const { manifests } = await (async () => {
      await using open = await Repository.open(repository);
      return await readGcRepository(open);
    })();
    const [layer] = manifests.get(manifest ?? "")?.layers ?? [];
    const object = join(repository, "streams", readlinkSync(join(repository, `streams/oci-layer-${layer}`)));
    rmSync(object);
    writeFileSync(object, "damaged");
    await expect(dryRun(paths)).rejects.toMatchObject({ code: "corrupt" });
    await expect(collect(paths)).rejects.toMatchObject({ code: "corrupt" });
  });

  test("a cut activation is finished, a staged menu is not activated", async () => {
    const { input } = golden();
    const paths = await sysrootOf({ ...input, bootedId: null });
    const loader = join(paths.sysroot, "boot/loader");
    write(join(loader, "entries/.composefs-exchanged"), "");
    write(join(loader, "entries.staged/old.conf"), "version 1\nlinux /old\noptions composefs=old\n");
    await collect(paths);
    expect(readdirSync(loader)).toEqual(["entries"]);
    expect(readdirSync(join(loader, "entries"))).toEqual(input.boot.entries?.map(([name]) => name).sort());
    write(join(loader, "entries.staged/new.conf"), "version 9\nlinux /new\noptions composefs=new\n");
    await collect(paths);
    expect(readdirSync(loader)).toEqual(["entries", "entries.staged"]);
  });
});
