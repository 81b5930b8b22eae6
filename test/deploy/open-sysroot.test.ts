// A sysroot that is open for changes, and its menu on the disk.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseBootEntry } from "../../src/boot/entry/bls.ts";
import { locateSysroot } from "../../src/deploy/location.ts";
import { activateMenu, dropStaging, stageMenu } from "../../src/deploy/menu-files.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { Repository } from "../../src/repository/repository.ts";

let sysroot: string;

beforeEach(async () => {
  sysroot = mkdtempSync(join(tmpdir(), "composefs-sysroot-"));
  await Repository.init(join(sysroot, "composefs"), { insecure: true });
  mkdirSync(join(sysroot, "boot/grub2"), { recursive: true });
});

afterEach(() => rmSync(sysroot, { recursive: true, force: true }));

const entry = parseBootEntry("version 1\nefi /EFI/Linux/bootc/bootc_composefs-a.efi\nsort-key bootc-os-0\n");

test("two commands never change one sysroot at once", async () => {
  const location = locateSysroot({ sysroot, bootloader: "grub" });
  {
    await using open = await OpenSysroot.open(location);
    expect((await open.readState()).state.size).toBe(0);
    await expect(OpenSysroot.open(location, { lock: { timeoutMs: 10 } })).rejects.toMatchObject({
      code: "locked",
      reason: "E_LOCKED",
      hint: expect.stringContaining("--wait"),
    });
  }
  await (await OpenSysroot.open(location, { lock: { timeoutMs: 10 } })).close();
});

test("a menu is staged, dropped and activated as entries and as user.cfg", async () => {
  const location = locateSysroot({ sysroot, bootloader: "grub" });
  await using open = await OpenSysroot.open(location);
  const staged = { kind: "entries", entries: [{ name: "bootc_os-1-1.conf", entry }] } as const;
  await stageMenu(open.boot, staged);
  expect((await open.readState()).boot.entriesStaged?.length).toBe(1);
  dropStaging(open.boot, "grub");
  expect((await open.readState()).boot.entriesStaged).toBeUndefined();
  await stageMenu(open.boot, staged);
  await activateMenu(open.boot, "grub");
  expect(readdirSync(join(sysroot, "boot/loader/entries"))).toEqual(["bootc_os-1-1.conf"]);
  writeFileSync(join(sysroot, "boot/grub2/user.cfg"), "old");
  await stageMenu(open.boot, { kind: "user.cfg", text: "new" });
  expect((await open.readState()).boot.userCfgStaged).toBe("new");
  expect(readFileSync(join(sysroot, "boot/grub2/user.cfg"), "utf8")).toBe("old");
  await activateMenu(open.boot, "grub");
  await activateMenu(open.boot, "grub");
  expect(readFileSync(join(sysroot, "boot/grub2/user.cfg"), "utf8")).toBe("new");
  expect(readdirSync(join(sysroot, "boot/grub2"))).toEqual(["user.cfg"]);
});
