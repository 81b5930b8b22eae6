// `deploy check`: a sysroot that is whole has no findings; each kind of damage has its own.

import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { checkSysroot } from "../../src/deploy/check/check.ts";
import { ownedTag } from "../../src/deploy/gc.ts";
import type { SysrootPaths } from "../../src/deploy/location.ts";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { Repository } from "../../src/repository/repository.ts";
import { uki } from "../fixtures/boot-layouts.ts";
import { type CompleteDeployment, completeSysroot } from "./complete-sysroot.ts";
import { setTag } from "./golden-repository.ts";
import { write } from "./golden-sysroot.ts";

let work: string;
let whole: string;
let sysroot: string;
let first: CompleteDeployment;
let second: CompleteDeployment;
let count = 0;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "composefs-check-"));
  whole = join(work, "whole");
  [first, second] = (await completeSysroot(whole, ["host1", "host2"])) as [CompleteDeployment, CompleteDeployment];
});
afterAll(() => rmSync(work, { recursive: true, force: true }));
beforeEach(() => {
  sysroot = join(work, String(count++));
  cpSync(whole, sysroot, { recursive: true, verbatimSymlinks: true });
});

const at = (path: string) => join(sysroot, path);
const state = (id: string, path: string) => at(`state/deploy/${id}/${path}`);
const change = (path: string, from: string | RegExp, to: string) =>
  writeFileSync(path, readFileSync(path, "utf8").replace(from, to));
const entry = (index: number) =>
  at(`boot/loader/entries/${readdirSync(at("boot/loader/entries")).sort().toReversed()[index]}`);
const manifestOf = ({ manifest }: CompleteDeployment) => manifest;

/** Level, test and deployment of what was found, but for remarks. */
async function found(options: { deep?: boolean; paths?: SysrootPaths } = {}): Promise<string[]> {
  const { findings, ok, errors } = await checkSysroot({ sysroot, ...options.paths }, { deep: options.deep });
  expect(ok).toBe(errors === 0);
  const names = new Map([
    [first.id, "first"],
    [second.id, "second"],
  ]);
  return findings
    .filter(({ level }) => level !== "info")
    .map(({ level, check, id = "" }) => `${level} ${check} ${names.get(id) ?? id}`.trim());
}

async function object(stream: (repository: Repository) => string | undefined): Promise<string> {
  await using repository = await Repository.open(at("composefs"), {});
  const id = stream(repository) ?? "";
  return at(`composefs/objects/${id.slice(0, 2)}/${id.slice(2)}`);
}

test("a sysroot that is whole has no findings, however closely it is looked at", async () => {
  expect(await found()).toEqual([]);
  expect(await found({ deep: true })).toEqual([]);
  expect(await found({ paths: { bootedId: second.id } })).toEqual([]);
  const { findings } = await checkSysroot({ sysroot });
  expect(findings).toEqual([
    { check: "C12", level: "info", message: expect.stringContaining("composefs fsck --repo") },
  ]);
});

test("C1: state directory and image", async () => {
  rmSync(at(`state/deploy/${second.id}`), { recursive: true });
  rmSync(at(`composefs/images/${first.id}`));
  expect(await found()).toEqual(["error C1 first", "error C1 second", "warning C6"]);
  expect(await found({ paths: { bootedId: "nobody" } })).toContain("error C1 nobody");
  rmSync(at("composefs"), { recursive: true });
  expect(await found()).toContain("error C1 first");
});

test("C1: the object of an image, and a menu that cannot be read", async () => {
  rmSync(await object((repository) => repository.resolveImage(second.id).id));
  expect(await found()).toEqual(["error C1 second"]);
  write(at("boot/grub2/user.cfg"), "menuentry {");
  expect((await found())[0]).toBe("error C1");
});

test("C2: kernel and initramfs", async () => {
  rmSync(at(`boot/bootc_composefs-${first.id}/initrd`));
  truncateSync(at(`boot/bootc_composefs-${second.id}/vmlinuz`));
  expect(await found()).toEqual(["error C2 first", "error C2 second", "warning C9 second"]);
  change(entry(0), "/boot/bootc", "/../../boot/bootc");
  expect(await found()).toContain("error C2 first");
});

test("C3: origin and its kind", async () => {
  change(state(first.id, `${first.id}.origin`), "= bls", "= uki");
  change(state(second.id, `${second.id}.origin`), "[boot]", "[boot");
  expect(await found()).toEqual(["error C3 first", "error C3 second"]);
  change(state(first.id, `${first.id}.origin`), "= uki", "= BLS");
  rmSync(state(second.id, `${second.id}.origin`));
  expect(await found()).toEqual(["error C3 first", "error C3 second"]);
});

test("C4: manifest, config and layers", async () => {
  rmSync(await object((repository) => repository.stream(`oci-manifest-${manifestOf(first)}`)));
  expect(await found()).toContain("warning C4 first");
  change(state(first.id, `${first.id}.origin`), /\[image\]\n.*\n/, "");
  change(state(second.id, `${second.id}.origin`), "= sha256:", "= sha256:X");
  expect(await found()).toEqual(expect.arrayContaining(["warning C4 first", "warning C4 second"]));
});

test("C4: the bytes of a manifest and of a layer", async () => {
  const body = await object((repository) => repository.stream(`oci-manifest-${manifestOf(first)}`));
  truncateSync(body, 20);
  expect(await found()).toContain("warning C4 first");
});

test("C5: the config names the image, and its layers give it", async () => {
  // The state of one, with the image of the other.
  change(state(first.id, `${first.id}.origin`), first.manifest, second.manifest);
  expect(await found()).toEqual(["error C5 first", "warning C6"]);
});

test("C6: tags", async () => {
  rmSync(at(`composefs/streams/refs/oci/${encodeTag(ownedTag(first.manifest))}`));
  setTag(at("composefs"), "foreign", `sha256:${"0".repeat(64)}`);
  setTag(at("composefs"), ownedTag(`sha256:${"1".repeat(64)}`), `sha256:${"1".repeat(64)}`);
  expect(await found()).toEqual(["warning C6 first", "warning C6", "warning C6", "warning C6"]);
});

test("C7: etc and var", async () => {
  rmSync(state(first.id, "etc"), { recursive: true });
  writeFileSync(state(first.id, "etc"), "");
  rmSync(state(first.id, "var"));
  mkdirSync(state(second.id, "x"));
  rmSync(state(second.id, "var"));
  symlinkSync("x", state(second.id, "var"));
  expect(await found()).toEqual(["error C7 first", "error C7 first", "error C7 second"]);
  rmSync(state(second.id, "var"));
  symlinkSync("../../os/other/var", state(second.id, "var"));
  expect(await found()).toContain("error C7 second");
  mkdirSync(at("state/os/other/var"), { recursive: true });
  expect(await found()).not.toContain("error C7 second");
});

test("C8: what a collection would remove, and what was left unfinished", async () => {
  mkdirSync(at("state/deploy/orphan"));
  mkdirSync(at("boot/bootc_composefs-orphan"));
  write(at("boot/loader/entries/broken.conf"), "title x\n");
  const unfinished = at("boot/loader/entries/.composefs-0123456789abcdef");
  write(unfinished, "");
  utimesSync(unfinished, 1, 1);
  expect(await found()).toEqual(Array.from({ length: 4 }, () => "warning C8"));
});

test("C9: the boot digest", async () => {
  appendFileSync(at(`boot/bootc_composefs-${first.id}/vmlinuz`), "x");
  expect(await found()).toEqual(["warning C9 first"]);
});

test("C10: the composefs parameter", async () => {
  await using repository = await Repository.open(at("composefs"), {});
  expect(repository.secure).toBe(false);
  change(entry(0), `composefs=?${first.id}`, `composefs=${"a".repeat(64)}`);
  // It is an entry for another deployment then.
  expect((await found()).filter((line) => line.includes("C10"))).toEqual([`error C10 ${"a".repeat(64)}`]);
});

test("C11: the default", async () => {
  cpSync(entry(0), at("boot/loader/entries/bootc_example-9-3.conf"));
  expect(await found()).toEqual(["warning C11", "warning C11"]);
});

test("a UKI is looked into", async () => {
  const esp = at("esp");
  const id = first.id;
  const file = at(`esp/EFI/Linux/bootc/bootc_composefs-${id}.efi`);
  mkdirSync(at("esp/EFI/Linux/bootc"), { recursive: true });
  write(at("esp/loader/entries/a.conf"), `version 1\nefi /EFI/Linux/bootc/bootc_composefs-${id}.efi\n`);
  writeFileSync(file, uki(`rw composefs=?${id}`));
  change(state(id, `${id}.origin`), "= bls", "= uki");
  const paths: SysrootPaths = { sysroot, bootloader: "systemd", esp };
  const errors = async () => (await found({ paths })).filter((line) => line.endsWith("first"));
  expect(await errors()).toEqual(["warning C9 first"]);
  change(state(id, `${id}.origin`), /digest = .*/, `digest = ${"0".repeat(64)}`);
  writeFileSync(file, uki(`rw composefs=${second.id}`));
  expect(await errors()).toEqual(["error C10 first", "warning C9 first"]);
  writeFileSync(file, uki("rw"));
  expect(await errors()).toEqual(["error C10 first", "warning C9 first"]);
  rmSync(file);
  expect(await errors()).toEqual(["error C2 first"]);
});

test("deep: the objects of the repository, and layers that are not what they were", async () => {
  const files = readdirSync(at("composefs/objects"), { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name));
  // What is neither a stream nor an image is a file of a layer.
  const body = files.find((path) => readFileSync(path).subarray(0, 20).toString().startsWith("root:"));
  expect(await found()).toEqual([]);
  appendFileSync(body ?? (files[0] as string), "x");
  expect(await found({ deep: true })).toContain("error C12");
});
