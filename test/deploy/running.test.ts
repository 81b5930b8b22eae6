// What status says of the system that runs beside its deployments: the overlay on /usr, the device, soft reboots, the last check.

import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseMountInfo } from "../../src/deploy/booted.ts";
import { parseCachedUpdate, writeCachedUpdate } from "../../src/deploy/cached-update.ts";
import { hostStatus, onlyBooted } from "../../src/deploy/host.ts";
import { isReadOnlyDevice, usrOverlay } from "../../src/deploy/running.ts";
import { readSysroot } from "../../src/deploy/sysroot.ts";
import { Repository } from "../../src/repository/repository.ts";
import { storeImage } from "../../src/repository/store-image.ts";
import { uki } from "../fixtures/boot-layouts.ts";
import { bootTree, type BootTreeEntry } from "../fixtures/boot-tree.ts";
import { testImages } from "./deploy-goldens.ts";

let work: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-running-"));
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), content);
}

test("an overlay on /usr is a mount of its own", () => {
  const root = "22 1 0:30 / / ro - overlay composefs:x ro\n";
  const usr = (options: string) => `30 22 0:40 / /usr ${options} - overlay overlay rw,lowerdir=/usr\n`;
  expect(usrOverlay(parseMountInfo(root))).toBeUndefined();
  expect(usrOverlay(parseMountInfo(root + usr("rw,relatime")))).toEqual({
    accessMode: "readWrite",
    persistence: "transient",
  });
  expect(usrOverlay(parseMountInfo(root + usr("rw") + usr("ro")))?.accessMode).toBe("readOnly");
});

test("a device that cannot be written is known by its number, or by the source of the mount", () => {
  const { dev } = statSync(work);
  const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
  const sys = join(work, "sys");
  expect(isReadOnlyDevice(work, [], sys)).toBe(false);
  write(`sys/dev/block/${major}:${minor}/ro`, "0\n");
  expect(isReadOnlyDevice(work, [], sys)).toBe(false);
  write(`sys/dev/block/${major}:${minor}/ro`, "1\n");
  expect(isReadOnlyDevice(work, [], sys)).toBe(true);
  rmSync(join(sys, "dev"), { recursive: true });
  write("sys/class/block/vda3/ro", "1\n");
  const mounts = parseMountInfo(`22 1 0:30 / ${work} rw - btrfs /dev/vda3 rw\n`);
  expect(isReadOnlyDevice(work, mounts, sys)).toBe(true);
  expect(isReadOnlyDevice(work, [], sys)).toBe(false);
});

const policy = (text: string, version = 33): BootTreeEntry[] => [
  { p: "/etc/selinux/config", t: "f", c: "SELINUX=enforcing\nSELINUXTYPE=targeted\n" },
  { p: "/etc/selinux/targeted/policy/policy.9", t: "f", c: "old" },
  { p: `/etc/selinux/targeted/policy/policy.${version}`, t: "f", c: text },
];

interface Wanted {
  readonly tree: readonly BootTreeEntry[];
  /** Command line inside a UKI; a kernel with an entry when left out. */
  readonly uki?: string;
}

// The first one is booted. Everything but the trees is the same for all.
async function softReboots(deployments: readonly Wanted[]): Promise<unknown[]> {
  await Repository.init(join(work, "composefs"), { insecure: true, ensure: true });
  const ids: string[] = [];
  {
    await using repository = await Repository.open(join(work, "composefs"), { write: true, durability: "none" });
    for (const [index, { tree, uki: line }] of deployments.entries()) {
      const id = await storeImage(repository, bootTree([...tree, { p: `/${index}`, t: "f" }]), 1);
      repository.linkImage(id);
      ids.push(id);
      const version = `version ${9 - index}\n`;
      const name = `bootc_composefs-${id}`;
      if (line !== undefined) write(`esp/EFI/Linux/bootc/${name}.efi`, uki(line.replace("ID", id)));
      write(
        `esp/loader/entries/${index}.conf`,
        line === undefined
          ? `${version}linux /EFI/Linux/${name}/vmlinuz\noptions rw composefs=${id}\n`
          : `${version}efi /EFI/Linux/bootc/${name}.efi\n`,
      );
      write(
        `state/deploy/${id}/${id}.origin`,
        `[boot]\nboot_type = ${line === undefined ? "bls" : "uki"}\ndigest = d\n`,
      );
    }
  }
  const state = await readSysroot({
    sysroot: work,
    bootloader: "systemd",
    esp: join(work, "esp"),
    bootedId: ids[0],
  });
  const { rollback, otherDeployments = [] } = hostStatus(state).host.status;
  return [rollback, ...otherDeployments].map((entry) => entry?.softRebootCapable);
}

test("a soft reboot needs the same SELinux policy, the newest of its type", async () => {
  const elsewhere: BootTreeEntry[] = [
    { p: "/etc/selinux/config", t: "f", c: "SELINUXTYPE=../../x\n" },
    { p: "/x/policy/policy.33", t: "f", c: "rules" },
  ];
  expect(
    await softReboots([
      { tree: policy("rules") },
      { tree: policy("rules", 34) },
      { tree: policy("other") },
      { tree: [] },
      { tree: elsewhere },
    ]),
  ).toEqual([true, false, false, false]);
});

test("without SELinux on both sides a soft reboot is possible", async () => {
  expect(
    await softReboots([{ tree: [] }, { tree: [{ p: "/etc/selinux/config", t: "f" }] }, { tree: policy("x") }]),
  ).toEqual([true, false]);
});

test("command lines are read inside UKIs", async () => {
  expect(
    await softReboots([
      { tree: [], uki: "rw composefs=ID" },
      { tree: [], uki: "composefs=ID rw" },
      { tree: [], uki: "ro composefs=ID" },
      { tree: [], uki: "rw quiet composefs=ID" },
    ]),
  ).toEqual([true, false, false]);
});

test("what the last check found is shown as long as the reference is the same", async () => {
  const { manifest, config, manifestDigest } = testImages()["host2"] as {
    manifest: unknown;
    config: unknown;
    manifestDigest: string;
  };
  const id = "a".repeat(128);
  const origin = (name: string) =>
    `[origin]\ncontainer-image-reference = ostree-unverified-image:docker://${name}\n[boot]\nboot_type = bls\n`;
  const image = { image: "q.x/os:1", transport: "registry" } as const;
  const text = writeCachedUpdate(image, manifestDigest, {
    manifest: JSON.stringify(manifest, null, 2),
    config: JSON.stringify(config),
  });
  expect(parseCachedUpdate(text)).toMatchObject({ image, manifestDigest });
  write("boot/loader/entries/a.conf", `version 1\nlinux /${id}/vmlinuz\noptions composefs=${id}\n`);
  write(`state/deploy/${id}/${id}.update`, text);
  const status = async (name: string) => {
    write(`state/deploy/${id}/${id}.origin`, origin(name));
    const { host, warnings } = hostStatus(await readSysroot({ sysroot: work, bootedId: id }));
    return { update: host.status.booted?.cachedUpdate, warnings };
  };
  expect((await status("q.x/os:1")).update).toMatchObject({
    image,
    imageDigest: manifestDigest,
    architecture: "amd64",
  });
  expect((await status("q.x/os:2")).update).toBeNull();
  for (const bad of ["", "{}", "[]", text.slice(0, -9), text.replace(manifestDigest, "sha256:1")]) {
    write(`state/deploy/${id}/${id}.update`, bad);
    const { update, warnings } = await status("q.x/os:1");
    expect([update, warnings.map(({ code }) => code)]).toEqual([null, ["W_NO_IMAGE_INFO"]]);
  }
});

test("the booted deployment can be shown alone", async () => {
  const { host } = hostStatus({
    bootloader: "grub",
    missingVerityAllowed: false,
    bootedId: "b",
    boot: {
      entries: ["a", "b", "c"].map((id) => [`${id}.conf`, `version 1\nlinux /${id}/k\noptions composefs=${id}\n`]),
    },
    state: new Map(["a", "b", "c"].map((id) => [id, { origin: "[boot]\nboot_type = bls\n" }])),
    images: new Map(),
  });
  expect(host.status).toMatchObject({ rollback: {}, otherDeployments: [{}] });
  expect(onlyBooted(host).status).toEqual({
    ...host.status,
    rollback: null,
    staged: null,
    otherDeployments: undefined,
  });
  expect(onlyBooted(host).status.booted?.composefs.verity).toBe("b");
});
