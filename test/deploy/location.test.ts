// Host mode and offline mode: a machine in a directory, and what must not be looked at.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hostStatus } from "../../src/deploy/host.ts";
import { findSysroot, locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import type { Machine } from "../../src/deploy/machine.ts";
import { outcome } from "./deploy-goldens.ts";

const ID = "a".repeat(128);
const LOADER = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

let root: string;
let machine: Machine;

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

const mounts = (source: string, more = "") =>
  `22 1 0:30 / / rw,relatime shared:1 - overlay ${source} rw,lowerdir=/x\n23 22 8:1 / /efi rw - vfat /dev/vda1 rw\n${more}`;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-machine-"));
  machine = { root, environment: {} };
  write("proc/cmdline", `rw composefs=${ID}\n`);
  write("proc/self/mountinfo", mounts(`composefs:${ID}`));
  write(LOADER, Buffer.concat([Buffer.from([6, 0, 0, 0]), Buffer.from("systemd-boot 256\0", "utf16le")]));
  mkdirSync(join(root, "sysroot"));
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

const at = (path: string) => join(root, path);
const located = (paths: SysrootPaths = {}) => outcome(() => locateSysroot({ machine, ...paths }));

test("the running system says all of it", () => {
  expect(located()).toEqual({
    isHost: true,
    sysroot: at("sysroot"),
    repository: at("sysroot/composefs"),
    bootloader: "systemd",
    boot: at("efi"),
    esp: at("efi"),
    runDirectory: at("run"),
    bootedId: ID,
    etc: at("etc"),
    stateroot: "default",
    mounts: expect.arrayContaining([expect.objectContaining({ mountPoint: "/efi", type: "vfat" })]),
  });
  rmSync(at(LOADER));
  expect(located()).toMatchObject({ bootloader: "grub", boot: at("sysroot/boot"), esp: at("efi") });
});

test("every path of the running system may be given", () => {
  write("other/cmdline", `composefs=?${"b".repeat(128)}`);
  write("other/mountinfo", mounts(`transient:composefs=${"b".repeat(128)}`));
  const given = { repository: "/r", boot: "/b", esp: "/e", runDirectory: "/n", etc: "/etc.old", stateroot: "s" };
  expect(
    located({
      ...given,
      bootloader: "grub-cc",
      commandLineFile: at("other/cmdline"),
      mountInfoFile: at("other/mountinfo"),
    }),
  ).toMatchObject({ ...given, isHost: true, bootloader: "grub-cc", bootedId: "b".repeat(128) });
  expect(located({ bootedId: "c" })).toMatchObject({ isHost: true, bootedId: "c" });
  expect(outcome(() => locateSysroot({ machine, bootedId: "../c" }))).toEqual({ error: undefined });
  expect(() => locateSysroot({ machine, bootedId: "../c" })).toThrow('"../c" is not the id of a deployment');
});

test("the mode is offline with another sysroot, with offline, and with no booted deployment", () => {
  mkdirSync(at("mnt"));
  symlinkSync("sysroot", at("link"));
  const isHost = (paths: SysrootPaths) =>
    (located({ bootloader: "grub", ...paths }) as { isHost: boolean | undefined }).isHost;
  expect(isHost({ sysroot: at("sysroot") })).toBe(true);
  expect(isHost({ sysroot: `${at("sysroot")}/.` })).toBe(true);
  expect(isHost({ sysroot: at("link") })).toBe(true);
  expect(isHost({ sysroot: at("mnt") })).toBe(false);
  expect(isHost({ sysroot: at("sysroot"), offline: true })).toBe(false);
  expect(isHost({ sysroot: at("sysroot"), bootedId: null })).toBe(false);
  expect(() => locateSysroot({ machine, offline: true })).toThrow("offline the sysroot must be named");
});

test("offline nothing of the machine is looked at", () => {
  // What would be an error if it were read.
  write("proc/cmdline", `composefs=${ID}`);
  write("proc/self/mountinfo", mounts("/dev/sda1"));
  write("run/.containerenv", "");
  write(LOADER, "x");
  mkdirSync(at("mnt/boot/loader"), { recursive: true });
  for (const paths of [{ sysroot: at("mnt") }, { sysroot: at("sysroot"), bootedId: null, bootloader: "grub" as const }])
    expect(located(paths)).toMatchObject({
      isHost: false,
      bootloader: "grub",
      bootedId: undefined,
      runDirectory: undefined,
      etc: undefined,
      esp: undefined,
      mounts: undefined,
    });
  expect(located({ sysroot: at("mnt"), bootloader: "systemd" })).toEqual({ error: "E_NO_ESP" });
  expect(located({ sysroot: at("sysroot"), offline: true })).toEqual({ error: "E_BOOTLOADER_UNKNOWN" });
});

test("offline what runs is known from files that are given, both of them", () => {
  const paths = { sysroot: at("mnt"), bootloader: "grub" as const, commandLineFile: at("proc/cmdline") };
  mkdirSync(at("mnt"));
  expect(located({ ...paths, mountInfoFile: at("proc/self/mountinfo") })).toMatchObject({
    isHost: false,
    bootedId: ID,
    runDirectory: undefined,
  });
  expect(() => locateSysroot(paths)).toThrow("both");
  write("proc/self/mountinfo", mounts("/dev/sda1"));
  expect(located({ ...paths, mountInfoFile: at("proc/self/mountinfo") })).toEqual({ error: "E_ROOT_NOT_COMPOSEFS" });
});

test("a machine that runs no deployment has an empty status, and is an error for all else", () => {
  const empty = hostStatus().host;
  const nothing = () => hostStatus(findSysroot({ machine }) as undefined).host;
  write("run/.containerenv", "");
  expect(located()).toEqual({ error: "E_CONTAINER" });
  expect(nothing()).toEqual(empty);
  rmSync(at("run/.containerenv"));
  write(".dockerenv", "");
  expect(located()).toEqual({ error: "E_CONTAINER" });
  rmSync(at(".dockerenv"));
  expect(located({ machine: { root, environment: { container: "oci" } } })).toEqual({ error: "E_CONTAINER" });
  write("proc/cmdline", "root=/dev/vda3 rw\n");
  expect(located()).toEqual({ error: "E_NOT_BOOTED" });
  expect(nothing()).toEqual(empty);
  write("proc/cmdline", `composefs=${ID}`);
  write("proc/self/mountinfo", mounts("/dev/vda3"));
  expect(outcome(() => findSysroot({ machine }))).toEqual({ error: "E_ROOT_NOT_COMPOSEFS" });
  rmSync(at("proc/cmdline"));
  expect(() => locateSysroot({ machine })).toThrow(/reading .*cmdline: no such file/);
});

test("firmware that says nothing sensible is an error that names the way out", () => {
  write(LOADER, "x");
  expect(located()).toEqual({ error: "E_BOOTLOADER_UNKNOWN" });
  rmSync(at(LOADER));
  mkdirSync(at(LOADER));
  expect(located()).toEqual({ error: "E_BOOTLOADER_UNKNOWN" });
  expect(located({ bootloader: "grub" })).toMatchObject({ bootloader: "grub" });
  write("proc/self/mountinfo", mounts(`composefs:${ID}`).replace("vfat", "ext4"));
  expect(located({ bootloader: "systemd" })).toEqual({ error: "E_NO_ESP" });
});
