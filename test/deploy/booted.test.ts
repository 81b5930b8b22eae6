// What runs, told from texts of the kernel and the firmware.

import { assert, property, string } from "fast-check";
import { expect, test } from "vitest";
import { bootedDeployment, bootloaderOf, mountedEsp, parseMountInfo } from "../../src/deploy/booted.ts";
import { outcome } from "./deploy-goldens.ts";

const A = "a".repeat(128);
const B = "b".repeat(128);
const root = (source: string) => `22 1 0:30 / / rw,relatime shared:1 - overlay ${source} rw,lowerdir=/x\n`;
const MORE = `23 22 8:1 / /boot/efi ro,noatime shared:2 master:3 - vfat /dev/sda1 rw\n24 22 0:5 / /a\\040b rw - tmpfs tmpfs rw\n`;

test("mounts are read with any number of optional fields and with escapes", () => {
  expect(parseMountInfo(`${root("composefs:x")}${MORE}no line\n25 22 0:5 / /c rw - tmpfs\n`)).toEqual([
    { mountPoint: "/", type: "overlay", source: "composefs:x", readOnly: false },
    { mountPoint: "/boot/efi", type: "vfat", source: "/dev/sda1", readOnly: true },
    { mountPoint: "/a b", type: "tmpfs", source: "tmpfs", readOnly: false },
  ]);
  assert(property(string(), (text) => Array.isArray(parseMountInfo(text))));
});

test("the booted deployment is that of the root's mount, also after a soft reboot", () => {
  const booted = (line: string, source: string) => outcome(() => bootedDeployment(line, parseMountInfo(root(source))));
  expect(booted(`rw composefs=?${A}\n`, `composefs:${A}`)).toEqual({ id: A, transient: false, allowMissing: true });
  expect(booted(`composefs=${A}`, `transient:composefs=${A}`)).toEqual({ id: A, transient: true, allowMissing: false });
  expect(booted(`composefs=?${A}`, `composefs:${B}`)).toEqual({ id: B, transient: false, allowMissing: false });
  expect(booted("root=/dev/sda1 rw", "/dev/sda1")).toBeUndefined();
  for (const source of ["/dev/sda1", "composefs:", "composefs:../x", "transient:composefs:x"])
    expect(booted(`composefs=${A}`, source)).toEqual({ error: "E_ROOT_NOT_COMPOSEFS" });
  expect(outcome(() => bootedDeployment(`composefs=${A}`, []))).toEqual({ error: "E_ROOT_NOT_COMPOSEFS" });
  const covered = parseMountInfo(root("/dev/sda1") + root(`composefs:${A}`));
  expect(bootedDeployment(`composefs=${A}`, covered)?.id).toBe(A);
});

test("the ESP is the first FAT mount in one of its places", () => {
  expect(mountedEsp(parseMountInfo(MORE))).toBe("/boot/efi");
  const boot = "26 22 8:1 / /boot rw - vfat /dev/sda1 rw\n";
  expect(mountedEsp(parseMountInfo(MORE + boot))).toBe("/boot");
  expect(mountedEsp(parseMountInfo(MORE + boot.replace("vfat", "ext4")))).toBe("/boot/efi");
  expect(mountedEsp([])).toBeUndefined();
});

test("the boot loader says its name in UTF-16 after four bytes", () => {
  const variable = (text: string) => Buffer.concat([Buffer.from([6, 0, 0, 0]), Buffer.from(text, "utf16le")]);
  expect(bootloaderOf(undefined)).toBe("grub");
  expect(bootloaderOf(variable("systemd-boot 256\0"))).toBe("systemd");
  expect(bootloaderOf(variable("GRUB CC 2.12\0"))).toBe("grub-cc");
  expect(bootloaderOf(variable("rEFInd"))).toBe("grub");
  for (const bad of [Buffer.alloc(3), variable("x").subarray(0, -1), Buffer.from([6, 0, 0, 0, 0, 0xd8])])
    expect(outcome(() => bootloaderOf(bad))).toEqual({ error: "E_BOOTLOADER_UNKNOWN" });
});
