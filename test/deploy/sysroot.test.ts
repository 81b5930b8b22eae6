// Reading a sysroot from the disk: every golden of status as directories and files, with a real repository; the choice of the boot
// loader; and what must not be followed or read.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXCHANGED } from "../../src/boot/entry/activate.ts";
import { readDeployments } from "../../src/deploy/deployments.ts";
import { hostStatus } from "../../src/deploy/host.ts";
import type { SysrootState } from "../../src/deploy/state.ts";
import { readSysroot } from "../../src/deploy/sysroot.ts";
import { ComposefsError } from "../../src/error.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { deployCases, testImages } from "./deploy-goldens.ts";
import { makeSysroot, write } from "./golden-sysroot.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-sysroot-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

// Repositories by the images that they hold.
const repositories = new Map<string, Promise<string>>();
function repositoryWith(names: string[]): Promise<string> {
  const key = names.sort().join();
  const made = repositories.get(key) ?? makeRepository(names);
  repositories.set(key, made);
  return made;
}

async function makeRepository(names: string[]): Promise<string> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  for (const name of names) await pull(repository, `oci:${join(goldensDir("deploy"), "oci")}:${name}`, { tag: name });
  return path;
}

const cases = deployCases<GoldenState, { host: unknown; warnings: unknown }>("status");

test.each(cases)("golden: $name", async ({ input, expect: expected }) => {
  const paths = makeSysroot(join(work, `sysroot-${count++}`), input);
  const names = Object.values(input.repo.manifests).map((image) => (typeof image === "string" ? image : image.name));
  const state = await readSysroot({
    ...paths,
    repository: await repositoryWith(names),
  });
  expect(state.missingVerityAllowed).toBe(true);
  const { missingVerityAllowed, selinuxCompatible } = input;
  const { host, warnings } = hostStatus({ ...state, missingVerityAllowed, selinuxCompatible });
  expect(JSON.parse(JSON.stringify({ host, warnings }))).toEqual({ host: expected.host, warnings: expected.warnings });
});

describe("boot loaders", () => {
  const entry = "version 1\nlinux /bootc_composefs-a/k\noptions composefs=a\n";
  async function outcome(files: string[], paths: { esp?: string; boot?: string } = {}): Promise<unknown> {
    const sysroot = join(work, `sysroot-${count++}`);
    mkdirSync(sysroot);
    for (const file of files) write(join(sysroot, file), file.endsWith(".conf") ? entry : "");
    const at = (path: string | undefined) => (path === undefined ? undefined : join(sysroot, path));
    try {
      const state = await readSysroot({ sysroot, esp: at(paths.esp), boot: at(paths.boot) });
      return [state.bootloader, state.boot.entries.length];
    } catch (error) {
      return (error as ComposefsError).reason;
    }
  }

  test("are told from where their files lie", async () => {
    const grub = "boot/loader/entries/a.conf";
    const systemd = "esp/loader/entries/a.conf";
    expect(await outcome([grub])).toEqual(["grub", 1]);
    expect(await outcome(["boot/grub2/user.cfg"])).toEqual(["grub", 0]);
    expect(await outcome([systemd], { esp: "esp" })).toEqual(["systemd", 1]);
    expect(await outcome([grub], { esp: "boot" })).toEqual(["systemd", 1]);
    expect(await outcome([grub, "esp/x"], { esp: "esp" })).toEqual(["grub", 1]);
    expect(await outcome(["b/loader/entries/a.conf"], { boot: "b" })).toEqual(["grub", 1]);
    expect(await outcome([grub, systemd], { esp: "esp" })).toBe("E_BOOTLOADER_UNKNOWN");
    expect(await outcome([systemd])).toBe("E_BOOTLOADER_UNKNOWN");
  });

  test("whose entries lie in the ESP need it", async () => {
    const sysroot = join(work, `sysroot-${count++}`);
    mkdirSync(sysroot);
    await expect(readSysroot({ sysroot, bootloader: "systemd" })).rejects.toMatchObject({ reason: "E_NO_ESP" });
    await expect(readSysroot({ sysroot: join(sysroot, "no") })).rejects.toMatchObject({ code: "not-found" });
  });
});

function firstInstall(): { sysroot: string; id: string; read: () => Promise<SysrootState> } {
  const input = cases.find(({ name }) => name === "first-install")?.input;
  if (!input) throw new Error("no first-install");
  const { sysroot } = makeSysroot(join(work, `sysroot-${count++}`), input);
  return {
    sysroot,
    id: Object.keys(input.state)[0] as string,
    read: () => readSysroot({ sysroot, bootloader: "grub", runDirectory: join(sysroot, "run") }),
  };
}

test("without a repository, and without anything, there is still a status", async () => {
  const { id, read } = firstInstall();
  expect(readDeployments(await read()).warnings).toMatchObject([{ code: "W_MANIFEST_MISSING", id }]);
  const empty = join(work, `sysroot-${count++}`);
  mkdirSync(empty);
  expect(hostStatus(await readSysroot({ sysroot: empty, bootloader: "grub" })).warnings).toEqual([]);
});

test("a damaged manifest is as good as a missing one", async () => {
  const { sysroot, id, read } = firstInstall();
  const path = join(sysroot, "composefs");
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  {
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    await pull(repository, `oci:${join(goldensDir("deploy"), "oci")}:host1`, { tag: "host1" });
    expect(readDeployments(await read()).warnings).toEqual([]);
    const object = repository.stream(`oci-manifest-${testImages()["host1"]?.manifestDigest}`) ?? "";
    truncateSync(join(path, "objects", object.slice(0, 2), object.slice(2)), 10);
  }
  expect(readDeployments(await read()).warnings).toMatchObject([{ code: "W_MANIFEST_MISSING", id }]);
});

test("links in the place of files and directories are not followed; files that are too large are damaged", async () => {
  const { sysroot, id, read } = firstInstall();
  const outside = join(work, "outside.origin");
  writeFileSync(outside, "[origin]\n");
  const origin = join(sysroot, "state/deploy", id, `${id}.origin`);
  rmSync(origin);
  symlinkSync(outside, origin);
  symlinkSync(work, join(sysroot, "state/deploy/link"));
  writeFileSync(join(sysroot, "state/deploy/file"), "");
  const state = await read();
  expect(state.state.get(id)).toEqual({ origin: undefined, imginfo: undefined });
  expect(state.state.get("link")).toEqual({ origin: undefined, imginfo: undefined });
  expect(state.state.has("file")).toBe(false);
  rmSync(origin);
  writeFileSync(origin, "");
  truncateSync(origin, 5 << 20);
  const entry = join(sysroot, "boot/loader/entries/large.conf");
  writeFileSync(entry, "");
  truncateSync(entry, 5 << 20);
  writeFileSync(join(sysroot, "boot/loader/entries/latin1.conf"), Buffer.from([0xe9]));
  expect(readDeployments(await read()).warnings).toEqual([
    { code: "W_BAD_BOOT_ENTRY", file: "large.conf" },
    { code: "W_BAD_BOOT_ENTRY", file: "latin1.conf" },
    { code: "W_BAD_ORIGIN", id, reason: "E_ORIGIN_SYNTAX" },
  ]);
});

test("in the middle of an activation the old set is not taken for a staged one", async () => {
  const { sysroot, read } = firstInstall();
  write(join(sysroot, "boot/loader/entries.staged/old.conf"), "version 1\nlinux /o/k\noptions composefs=old\n");
  expect((await read()).boot.entriesStaged).toHaveLength(1);
  write(join(sysroot, "boot/loader/entries", EXCHANGED), "");
  expect((await read()).boot.entriesStaged).toBeUndefined();
});

test("the state read from the disk is the golden's", async () => {
  const { read } = firstInstall();
  const golden = sysrootState(cases.find(({ name }) => name === "first-install")?.input as GoldenState);
  const { boot, state } = await read();
  expect({ boot, state }).toEqual({ boot: golden.boot, state: golden.state });
});
