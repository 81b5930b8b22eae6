// Installations, upgrades and switches with every boot loader, kernels and UKIs, hashes and formats; offline and on a machine that runs.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import type { BootLoader } from "../../src/boot/entry/order.ts";
import { rollBack } from "../../src/deploy/carry-out-rollback.ts";
import { deployGc } from "../../src/deploy/collect.ts";
import { readDeployments } from "../../src/deploy/deployments.ts";
import { finalizeDeployment } from "../../src/deploy/finalize.ts";
import { hostStatus } from "../../src/deploy/host.ts";
import type { HostImage } from "../../src/deploy/image-reference.ts";
import { type InstallOptions, installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { readMenu } from "../../src/deploy/menu.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { switchDeployment } from "../../src/deploy/switch.ts";
import { readSysroot } from "../../src/deploy/sysroot.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { listTags } from "../../src/oci/tags.ts";
import { TestRegistry } from "../fixtures/registry.ts";
import { ComposefsError } from "../../src/error.ts";
import { type HostImageParts, hostLayout, sealedHostLayout } from "./host-images.ts";

let root: string;
let paths: SysrootPaths & { sysroot: string };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-update-"));
  for (const name of ["sysroot", "esp", "run", "etc"]) mkdirSync(join(root, name));
  paths = { sysroot: join(root, "sysroot"), esp: join(root, "esp"), bootloader: "systemd", offline: true };
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

const image = (name = "image"): HostImage => ({ transport: "oci", image: join(root, name) });
const layout = (parts: HostImageParts, name = "image") => hostLayout(join(root, name), parts);
const install = (options: InstallOptions = {}) =>
  installDeployment(paths, image(), { verity: "allow-missing", kargs: ["rw"], ...options });
const etcOf = (id: string, name: string) => join(paths.sysroot, "state/deploy", id, "etc", name);
const read = async () => readSysroot(paths);
const order = async () => readMenu(await read()).active.entries.map(({ verity }) => verity);

async function opened<T>(use: (sysroot: OpenSysroot) => Promise<T>): Promise<T> {
  await using sysroot = await OpenSysroot.open(locateSysroot(paths));
  return await use(sysroot);
}

const LOADERS: readonly (readonly [BootLoader, "bls" | "uki"])[] = [
  ["grub", "bls"],
  ["grub", "uki"],
  ["grub-cc", "bls"],
  ["grub-cc", "uki"],
  ["systemd", "bls"],
  ["systemd", "uki"],
];
const REPOSITORIES: readonly (readonly [Algorithm, 1 | 2])[] = [
  ["sha512", 1],
  ["sha256", 2],
];

describe.each(LOADERS)("%s, %s", (bootloader, kind) => {
  test.each(REPOSITORIES)("%s, format %i: install, upgrade twice, roll back", async (algorithm, format) => {
    paths = { ...paths, bootloader };
    const offer = (version: string) =>
      kind === "bls"
        ? layout({ version, kargs: `kargs = ["v=${version}"]` })
        : sealedHostLayout(join(root, "image"), { version }, { algorithm, format });
    const ids: string[] = [];
    await offer("1.0");
    const kargs = kind === "bls" ? ["root=LABEL=x", "rw"] : [];
    const first = await install({ algorithm, erofsVersion: format, kargs, espUuid: "1234-ABCD" });
    ids.push(first.id ?? "");
    expect(await order()).toEqual(ids);
    await expect(install()).rejects.toMatchObject({ reason: "E_ALREADY_INSTALLED", digest: ids[0] });
    writeFileSync(etcOf(ids[0] ?? "", "local.conf"), "mine\n");
    expect((await opened((sysroot) => upgradeDeployment(sysroot))).decision).toEqual({
      action: "none",
      reason: "booted",
    });
    for (const version of ["1.1", "0.9"]) {
      await offer(version);
      const { decision, id, finalized, warnings } = await opened((sysroot) => upgradeDeployment(sysroot));
      expect({ decision, warnings }).toEqual({ decision: { action: "stage" }, warnings: [] });
      expect(finalized?.result).toBe("finalized");
      ids.unshift(id ?? "");
      expect(await order()).toEqual(ids.slice(0, 2));
      expect(readFileSync(etcOf(id ?? "", "version.conf"), "utf8")).toBe(`${version}\n`);
      expect(readFileSync(etcOf(id ?? "", "local.conf"), "utf8")).toBe("mine\n");
    }
    // The oldest has gone, with its kernel or UKI and its tag; the shared kernel of the oldest stays.
    expect(readdirSync(join(paths.sysroot, "state/deploy")).sort()).toEqual(ids.slice(0, 2).sort());
    const state = await read();
    const [entry] = readMenu(state).active.entries;
    expect(entry?.kind).toBe(kind);
    if (entry?.source.kind === "bls" && kind === "bls") {
      const { options, target } = entry.source.entry;
      expect(options).toBe(`root=LABEL=x rw composefs=?${ids[0]} v=0.9`);
      expect(target).toMatchObject({ linux: expect.stringContaining(`bootc_composefs-${ids[2]}/vmlinuz`) });
    }
    expect(existsSync(join(root, "esp/loader/loader.conf"))).toBe(bootloader !== "grub" && kind === "uki");
    const status = hostStatus(state);
    expect(status.warnings).toEqual([]);
    await opened((sysroot) => rollBack(sysroot, ids[1]));
    expect(await order()).toEqual([ids[1], ids[0]]);
    await opened(async ({ repository }) => expect(listTags(repository).length).toBe(2));
  });
});

// A machine that runs: what is staged waits until it goes down.
describe("with a system that runs", () => {
  let first: string;

  beforeEach(async () => {
    layout({ version: "1.0" });
    first = (await install()).id ?? "";
    writeFileSync(join(root, "etc/version.conf"), "1.0\n");
    writeFileSync(join(root, "etc/local.conf"), "running\n");
    paths = { ...paths, bootedId: first, runDirectory: join(root, "run"), etc: join(root, "etc") };
  });

  const stagedFile = () => readFileSync(join(root, "run/composefs/staged-deployment"), "utf8");

  test("an upgrade is staged, and finalize makes it the default", async () => {
    layout({ version: "1.1" });
    const { id = "", finalized } = await opened((sysroot) => upgradeDeployment(sysroot));
    expect(finalized).toBeUndefined();
    expect(await order()).toEqual([first]);
    expect(stagedFile()).toBe(`{"depl_id":"${id}","finalization_locked":false}`);
    expect(readDeployments(await read()).staged?.id).toBe(id);
    // The same again has nothing to do.
    expect((await opened((sysroot) => upgradeDeployment(sysroot))).decision).toEqual({
      action: "none",
      reason: "staged",
    });
    // Changes after staging count.
    writeFileSync(join(root, "etc/late.conf"), "late\n");
    const done = await opened((sysroot) => finalizeDeployment(sysroot));
    expect(done).toMatchObject({ result: "finalized", id, base: first, collectFailure: undefined });
    expect(await order()).toEqual([id, first]);
    for (const name of ["late.conf", "local.conf"]) expect(existsSync(etcOf(id, name)), name).toBe(true);
    expect(readFileSync(etcOf(id, "version.conf"), "utf8")).toBe("1.1\n");
    expect((await opened((sysroot) => finalizeDeployment(sysroot))).result).toBe("nothing-staged");
  });

  test("downloaded only: finalize passes it over until it is unlocked", async () => {
    layout({ version: "1.1" });
    await expect(opened((sysroot) => upgradeDeployment(sysroot, { fromDownloaded: true }))).rejects.toMatchObject({
      reason: "E_NO_STAGED",
    });
    const { id = "" } = await opened((sysroot) => upgradeDeployment(sysroot, { downloadOnly: true }));
    expect(stagedFile()).toContain("true");
    expect((await opened((sysroot) => finalizeDeployment(sysroot))).result).toBe("download-only");
    expect(await order()).toEqual([first]);
    const unlocked = await opened((sysroot) => upgradeDeployment(sysroot, { fromDownloaded: true }));
    expect(unlocked).toMatchObject({ decision: { action: "unlock" }, id });
    expect(stagedFile()).toContain("false");
    await opened((sysroot) => finalizeDeployment(sysroot));
    expect(await order()).toEqual([id, first]);
  });

  test("a check writes what status shows, and nothing into the repository", async () => {
    const manifest = layout({ version: "1.1" });
    const streams = () => readdirSync(join(paths.sysroot, "composefs/streams"), { recursive: true }).length;
    const before = streams();
    const { decision, layers } = await opened((sysroot) => upgradeDeployment(sysroot, { check: true }));
    expect(decision).toEqual({ action: "update-available" });
    expect(layers).toMatchObject({ total: { layers: 1 }, removed: { layers: 1 }, added: { layers: 1 } });
    expect(streams()).toBe(before);
    const { booted } = hostStatus(await read()).host.status;
    expect(booted?.cachedUpdate?.imageDigest).toBe(manifest);
  });

  test("a second update takes the place of the first, whose state goes", async () => {
    layout({ version: "1.1" });
    const second = (await opened((sysroot) => upgradeDeployment(sysroot))).id ?? "";
    layout({ version: "1.2" });
    const third = (await opened((sysroot) => upgradeDeployment(sysroot))).id ?? "";
    expect(readdirSync(join(paths.sysroot, "state/deploy")).sort()).toEqual([first, third].sort());
    expect(second).not.toBe(third);
    await opened(async ({ repository }) => expect(listTags(repository).length).toBe(2));
  });

  test("a third image, switched to from the rollback deployment", async () => {
    layout({ version: "1.1" });
    const second = (await opened((sysroot) => upgradeDeployment(sysroot))).id ?? "";
    await opened((sysroot) => finalizeDeployment(sysroot));
    // The second was booted, then the first again from the menu.
    layout({ version: "1.2" }, "third");
    const { id: third = "" } = await opened((sysroot) => switchDeployment(sysroot, image("third")));
    await opened((sysroot) => finalizeDeployment(sysroot));
    expect(await order()).toEqual([third, first]);
    expect(readdirSync(join(paths.sysroot, "state/deploy"))).toContain(first);
    expect(second).not.toBe(third);
    paths = { ...paths, bootedId: third };
    await opened((sysroot) => rollBack(sysroot));
    expect(await order()).toEqual([first, third]);
  });

  test("a conflict of /etc leaves everything as it is, at both times", async () => {
    mkdirSync(join(root, "etc/version.conf.d"));
    writeFileSync(join(root, "etc/version.conf.d/x"), "x");
    layout({ version: "1.1", etc: { "version.conf.d": "a file\n" } });
    const conflict = { reason: "E_ETC_CONFLICT", message: expect.stringContaining("etc/version.conf.d") };
    await expect(opened((sysroot) => upgradeDeployment(sysroot))).rejects.toMatchObject(conflict);
    expect(readdirSync(join(paths.sysroot, "state/deploy"))).toEqual([first]);
    rmSync(join(root, "etc/version.conf.d"), { recursive: true });
    const { id = "" } = await opened((sysroot) => upgradeDeployment(sysroot));
    mkdirSync(join(root, "etc/version.conf.d"));
    writeFileSync(join(root, "etc/version.conf.d/x"), "x");
    await expect(opened((sysroot) => finalizeDeployment(sysroot))).rejects.toMatchObject({ ...conflict, digest: id });
    expect(await order()).toEqual([first]);
    await opened((sysroot) => finalizeDeployment(sysroot, { conflicts: "keep-local" }));
    expect(await order()).toEqual([id, first]);
    expect(readFileSync(etcOf(id, "version.conf.d/x"), "utf8")).toBe("x");
  });

  test("the booted deployment is not in the menu", async () => {
    layout({ version: "1.1" }, "other");
    paths = { ...paths, bootedId: "f".repeat(128) };
    await expect(opened((sysroot) => switchDeployment(sysroot, image("other")))).rejects.toMatchObject({
      reason: "E_BOOTED_NOT_FOUND",
      digest: "f".repeat(128),
    });
  });
});

describe("the same content", () => {
  test("an upgrade to it only refreshes the origin", async () => {
    layout({ version: "1.0" });
    const { id = "", manifest } = await install();
    // The layer twice: another manifest, the same files.
    const file = { path: "etc/version.conf", content: Buffer.from("1.0\n") };
    const next = layout({ version: "1.0", more: [file] });
    expect(next).not.toBe(manifest);
    const { decision } = await opened((sysroot) => upgradeDeployment(sysroot));
    expect(decision).toEqual({ action: "refresh-origin", slot: "booted" });
    expect(await order()).toEqual([id]);
    const tags = await opened(async ({ repository }) => listTags(repository).map((tag) => tag.manifestDigest));
    expect(tags).toEqual([next]);
    expect(readFileSync(join(paths.sysroot, "state/deploy", id, `${id}.origin`), "utf8")).toContain(next);
    expect((await opened((sysroot) => upgradeDeployment(sysroot))).decision).toEqual({
      action: "none",
      reason: "booted",
    });
  });

  test("two tags of one image: a switch is refused, and rolling back works", async () => {
    layout({ version: "1.0" });
    const first = (await install()).id ?? "";
    layout({ version: "1.0" }, "again");
    await expect(opened((sysroot) => switchDeployment(sysroot, image("again")))).rejects.toMatchObject({
      reason: "E_SAME_DEPLOYMENT",
      slot: "booted",
      digest: first,
    });
    layout({ version: "1.1" }, "next");
    const second = (await opened((sysroot) => switchDeployment(sysroot, image("next")))).id ?? "";
    await opened((sysroot) => rollBack(sysroot, first));
    await expect(opened((sysroot) => switchDeployment(sysroot, image("next")))).rejects.toMatchObject({
      reason: "E_SAME_DEPLOYMENT",
      slot: "other",
      digest: second,
    });
    expect(await order()).toEqual([first, second]);
  });
});

describe("whether files without fs-verity are to boot", () => {
  const optionsOf = async () => {
    const [first] = readMenu(await read()).active.entries;
    return first?.source.kind === "bls" ? first.source.entry.options : undefined;
  };

  test.each([
    ["sealed", ""],
    ["allow-missing", "?"],
  ] as const)(
    "is said at the installation, whatever this machine can: %s; and updates keep it",
    async (verity, mark) => {
      layout({ version: "1.0" });
      const { id } = await install({ verity });
      expect(await optionsOf()).toBe(`rw composefs=${mark}${id}`);
      layout({ version: "1.1" });
      const next = await opened((sysroot) => upgradeDeployment(sysroot, { kargs: ["quiet"] }));
      expect(await optionsOf()).toBe(`rw composefs=${mark}${next.id} quiet`);
    },
  );

  test("is as the repository requires when nothing is said, and where that cannot be had, both ways are named", async () => {
    layout({ version: "1.0" });
    const outcome = await install({ verity: undefined }).catch((error: unknown) => error);
    if (outcome instanceof ComposefsError)
      expect(outcome).toMatchObject({
        code: "unsupported",
        hint: expect.stringMatching(/--allow-missing-verity.*--sealed/),
      });
    else expect(await optionsOf()).not.toContain("?");
  });
});

test("an image of a registry: the tag that is followed moves, and another tag is followed from then on", async () => {
  await using registry = await TestRegistry.start();
  const offer = (version: string, tag: string) => {
    const manifest = layout({ version }, tag);
    const layouts = join(root, tag);
    const index = JSON.parse(readFileSync(join(layouts, "index.json"), "utf8")) as {
      manifests: { annotations: object }[];
    };
    for (const one of index.manifests) one.annotations = { "org.opencontainers.image.ref.name": tag };
    writeFileSync(join(layouts, "index.json"), JSON.stringify(index));
    registry.load(layouts);
    return manifest;
  };
  const client = { registry: { tlsVerify: false } };
  const reference: HostImage = { transport: "registry", image: `${registry.host}/demo/os:stable` };
  offer("1.0", "stable");
  const options = { verity: "allow-missing", ...client } as const;
  const first = (await installDeployment(paths, reference, options)).id ?? "";
  expect((await opened((sysroot) => upgradeDeployment(sysroot, client))).decision).toEqual({
    action: "none",
    reason: "booted",
  });
  const moved = offer("1.1", "stable");
  const { id = "", manifest } = await opened((sysroot) => upgradeDeployment(sysroot, client));
  expect(manifest).toBe(moved);
  offer("2.0", "testing");
  const next = await opened((sysroot) => upgradeDeployment(sysroot, { ...client, tag: "testing" }));
  expect(next.reference?.image).toBe(`${registry.host}/demo/os:testing`);
  expect(await order()).toEqual([next.id, id]);
  expect(readDeployments(await read()).others[0]?.image).toEqual({
    ...reference,
    image: `${registry.host}/demo/os:testing`,
  });
  // What works locally asks nobody.
  const asked = registry.requests.length;
  await opened((sysroot) => rollBack(sysroot, id));
  await opened((sysroot) => deployGc(sysroot));
  expect(registry.requests.length).toBe(asked);
  expect(existsSync(etcOf(first, "version.conf"))).toBe(false);
});
