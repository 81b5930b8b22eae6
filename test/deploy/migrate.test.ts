// What old installations need once: images without an EROFS image get one, kernels and UKIs without prefix get it.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { assertCollected, deployGc, deployGcDryRun } from "../../src/deploy/collect.ts";
import { hostStatus } from "../../src/deploy/host.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { migrateFormats } from "../../src/deploy/migrate-formats.ts";
import { migratePrefix } from "../../src/deploy/migrate-prefix.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { readSysroot } from "../../src/deploy/sysroot.ts";
import type { ProgressEvent } from "../../src/progress.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { testImages } from "./deploy-goldens.ts";
import { setTag } from "./golden-repository.ts";
import { makeSysroot, write } from "./golden-sysroot.ts";
import { forgetImages } from "./old-image.ts";

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-migrate-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const layout = (name: string) => `oci:${join(goldensDir("deploy"), "oci")}:${name}`;

describe("formats", () => {
  test("an image without its EROFS image gets it, under the same digests, and nothing is done twice", async () => {
    const path = join(work, `repository-${count++}`);
    await Repository.init(path, { algorithm: "sha512", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    const { manifestDigest } = await pull(repository, layout("host1"), { tag: "old" });
    await pull(repository, layout("app1"), { tag: "new" });
    const id = testImages()["host1"]?.imageId["v1-sha512"] ?? "";
    expect(readdirSync(join(path, "images"))).toContain(id);
    await forgetImages(repository, manifestDigest);
    expect(readdirSync(join(path, "images"))).not.toContain(id);

    expect(await migrateFormats({ repository }, { dryRun: true })).toEqual([manifestDigest]);
    expect(readdirSync(join(path, "images"))).not.toContain(id);
    expect(await migrateFormats({ repository })).toEqual([manifestDigest]);
    expect(readdirSync(join(path, "images"))).toContain(id);
    expect(await migrateFormats({ repository })).toEqual([]);
  });

  test("tags to nothing and images that are damaged are warnings at most", async () => {
    const path = join(work, `repository-${count++}`);
    await Repository.init(path, { algorithm: "sha512", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    const { manifestDigest } = await pull(repository, layout("host1"), { tag: "old" });
    await forgetImages(repository, manifestDigest);
    setTag(path, "a-dangling", `sha256:${"0".repeat(64)}`);
    // Without one of its layers there is nothing to make the image of.
    const layer = readdirSync(join(path, "streams")).find((name) => name.startsWith("oci-layer-")) ?? "";
    unlinkSync(repository.objectPath(repository.stream(layer) ?? ""));
    const events: ProgressEvent[] = [];
    expect(await migrateFormats({ repository }, { onProgress: (event) => events.push(event) })).toEqual([]);
    expect(events.filter(({ type }) => type === "warning")).toEqual([
      { type: "warning", message: expect.stringContaining("a-dangling could not be brought up to date") },
      { type: "warning", message: expect.stringContaining("old could not be brought up to date") },
    ]);
  });
});

describe("prefix", () => {
  const [one, two, gone] = ["1", "2", "3"].map((digit) => digit.repeat(128)) as [string, string, string];
  const kernel = (directory: string, id: string, version: string) =>
    `title T\nversion ${version}\nlinux ${directory}/vmlinuz\ninitrd ${directory}/initrd\noptions rw composefs=${id}\n`;
  const uki = (name: string, version: string) => `version ${version}\nefi /EFI/Linux/bootc/${name}.efi\n`;

  interface Old {
    readonly bootloader: "grub" | "systemd";
    readonly boot: {
      readonly entries?: [string, string][];
      readonly userCfg?: string;
      readonly entriesStaged?: [string, string][];
    };
  }

  async function old({ bootloader, boot }: Old): Promise<SysrootPaths & { readonly sysroot: string }> {
    const paths = makeSysroot(join(work, `sysroot-${count++}`), {
      bootloader,
      bootedId: null,
      missingVerityAllowed: true,
      boot,
      stagedDeployment: null,
      state: Object.fromEntries([one, two].map((id) => [id, { origin: "[boot]\nboot_type = bls\n" }])),
      repo: { manifests: {} },
    });
    await Repository.init(join(paths.sysroot, "composefs"), { algorithm: "sha512", insecure: true });
    const esp = join(paths.sysroot, bootloader === "grub" ? "esp" : "boot");
    return { ...paths, esp };
  }

  async function migrate(paths: SysrootPaths): Promise<string[]> {
    await using sysroot = await OpenSysroot.open(locateSysroot(paths), { repair: false });
    return await migratePrefix(sysroot);
  }

  const entryText = ({ sysroot }: { sysroot: string }, name: string) =>
    readFileSync(join(sysroot, "boot/loader/entries", name), "utf8");

  test("kernels get it: links beside them, the entries, then the old names go", async () => {
    const paths = await old({
      bootloader: "grub",
      boot: {
        entries: [
          ["b.conf", kernel(`/boot/${one}`, one, "2")],
          ["a.conf", kernel(`/boot/${one}`, two, "1")],
          ["foreign.conf", "version 1\nlinux /boot/other/vmlinuz\n"],
        ],
      },
    });
    const boot = join(paths.sysroot, "boot");
    for (const file of ["vmlinuz", "initrd"]) write(join(boot, one, file), file);
    write(join(boot, "other/vmlinuz"), "another system");
    const { ino } = statSync(join(boot, one, "vmlinuz"));
    // Reading commands leave it alone, and understand it.
    const before = hostStatus(await readSysroot(paths)).host;
    expect(existsSync(join(boot, one))).toBe(true);
    expect(await migrate(paths)).toEqual([one]);
    expect(readdirSync(boot).sort()).toEqual([`bootc_composefs-${one}`, "loader", "other"]);
    expect(statSync(join(boot, `bootc_composefs-${one}/vmlinuz`)).ino).toBe(ino);
    expect(entryText(paths, "b.conf")).toBe(kernel(`/boot/bootc_composefs-${one}`, one, "2"));
    expect(entryText(paths, "a.conf")).toBe(kernel(`/boot/bootc_composefs-${one}`, two, "1"));
    expect(hostStatus(await readSysroot(paths)).host).toEqual(before);
    expect(await migrate(paths)).toEqual([]);
  });

  test("UKIs get it with their addons, and those that nothing names and that have a copy go", async () => {
    const paths = await old({
      bootloader: "systemd",
      boot: {
        entries: [
          ["b.conf", uki(one, "2")],
          ["a.conf", uki(`bootc_composefs-${two}`, "1")],
        ],
      },
    });
    const ukis = join(paths.sysroot, "boot/EFI/Linux/bootc");
    for (const name of [one, `bootc_composefs-${two}`, two, gone]) write(join(ukis, `${name}.efi`), name);
    write(join(ukis, `${one}.efi.extra.d/a.addon.efi`), "addon");
    write(join(ukis, "global.addon.efi"), "for all");
    expect(await migrate(paths)).toEqual([one]);
    expect(readdirSync(ukis).sort()).toEqual([
      `${gone}.efi`,
      `bootc_composefs-${one}.efi`,
      `bootc_composefs-${one}.efi.extra.d`,
      `bootc_composefs-${two}.efi`,
      "global.addon.efi",
    ]);
    expect(entryText(paths, "b.conf")).toBe(uki(`bootc_composefs-${one}`, "2"));
  });

  test("of user.cfg only the paths change", async () => {
    const menu = (name: string) =>
      `# mine\nmenuentry "T" {\nset x=1\nsearch y\nchainloader /EFI/Linux/bootc/${name}.efi\n}\nmenuentry "Other" {\nchainloader /EFI/${name}.efi\n}\n`;
    const paths = await old({ bootloader: "grub", boot: { userCfg: menu(one) } });
    write(join(paths.sysroot, "esp/EFI/Linux/bootc", `${one}.efi`), "uki");
    expect(await migrate(paths)).toEqual([one]);
    expect(readFileSync(join(paths.sysroot, "boot/grub2/user.cfg"), "utf8")).toBe(
      menu(one).replace(`bootc/${one}`, `bootc/bootc_composefs-${one}`),
    );
    expect(readdirSync(join(paths.sysroot, "boot/grub2"))).toEqual(["user.cfg"]);
  });

  test("nothing happens while something is staged, or where the kernels lie elsewhere", async () => {
    const entries: [string, string][] = [["b.conf", kernel(`/boot/${one}`, one, "2")]];
    const staged = await old({
      bootloader: "grub",
      boot: { entries, entriesStaged: [["c.conf", kernel("/x", two, "3")]] },
    });
    write(join(staged.sysroot, "boot", one, "vmlinuz"), "kernel");
    expect(await migrate(staged)).toEqual([]);
    const elsewhere = await old({
      bootloader: "grub",
      boot: { entries: [["b.conf", kernel(`/else/${one}`, one, "2")]] },
    });
    write(join(elsewhere.sysroot, "boot", one, "vmlinuz"), "kernel");
    expect(await migrate(elsewhere)).toEqual([]);
    const relative = await old({ bootloader: "grub", boot: { entries: [["b.conf", kernel(one, one, "2")]] } });
    for (const name of [one, `bootc_composefs-${one}`])
      write(join(relative.sysroot, "boot", name, "vmlinuz"), "kernel");
    expect(await migrate(relative)).toEqual([]);
    expect(readdirSync(join(relative.sysroot, "boot"))).toContain(one);
  });

  test("a run that was cut is finished by every command that changes something", async () => {
    const paths = await old({ bootloader: "grub", boot: { entries: [["b.conf", kernel(`/boot/${one}`, one, "2")]] } });
    const boot = join(paths.sysroot, "boot");
    for (const file of ["vmlinuz", "initrd"]) write(join(boot, one, file), file);
    write(join(boot, `bootc_composefs-${one}/vmlinuz`), "half");
    await using repository = await Repository.open(join(paths.sysroot, "composefs"));
    const dry = await deployGcDryRun(locateSysroot(paths), repository);
    expect(dry.plan.removeBootBinaries).toEqual([]);
    await repository.close();
    {
      await using sysroot = await OpenSysroot.open(locateSysroot(paths));
      await deployGc(sysroot);
    }
    expect(readFileSync(join(boot, `bootc_composefs-${one}/vmlinuz`), "utf8")).toBe("vmlinuz");
    expect(readdirSync(boot).sort()).toEqual([`bootc_composefs-${one}`, "loader"]);
    expect(entryText(paths, "b.conf")).toBe(kernel(`/boot/bootc_composefs-${one}`, one, "2"));
    await using again = await Repository.open(join(paths.sysroot, "composefs"));
    assertCollected(await deployGcDryRun(locateSysroot(paths), again), paths.sysroot);
  });
});
