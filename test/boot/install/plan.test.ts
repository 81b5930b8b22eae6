// What bootc writes: the recorded steps of a deployment's life (test/goldens/boot/bootc-scenarios.json), each carried out with and
// without an exchange of directories, and cut by a loss of power before every single change.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { utf8ByteString } from "../../../src/bytes/byte-string.ts";
import { carryOut, type OpenFile } from "../../../src/boot/change/carry-out.ts";
import { discoverBootResources } from "../../../src/boot/discover.ts";
import { activateEntries, dropStagedEntries, readEntryMenu } from "../../../src/boot/entry/activate.ts";
import { grubEntryDigest, parseGrubConfig } from "../../../src/boot/entry/grub-config.ts";
import { readMenu } from "../../../src/boot/entry/menu.ts";
import type { BootLoader } from "../../../src/boot/entry/order.ts";
import { kernelBootDigest, kernelDirectoryDigests } from "../../../src/boot/install/boot-digest.ts";
import {
  type BootDeployment,
  chooseDeploymentBoot,
  type DeploymentUki,
  describeDeployment,
} from "../../../src/boot/install/deployment.ts";
import {
  entryVolume,
  type KernelInstallOptions,
  planEntryRollback,
  planFinalize,
  planGrubRollback,
  planKernelInstall,
  planKernelUpgrade,
  planUkiInstall,
  planUkiUpgrade,
} from "../../../src/boot/install/plan.ts";
import { OsRelease } from "../../../src/boot/os-release.ts";
import type { BootFile, BootResource } from "../../../src/boot/resource.ts";
import type { BootStep } from "../../../src/boot/change/steps.ts";
import { DirectoryVolume } from "../../../src/boot/change/volume.ts";
import { syscalls } from "../../../src/runtime/syscalls.ts";
import { Leaf, NO_XATTRS } from "../../../src/tree/node.ts";
import { type BootTreeEntry, bootTree } from "../../fixtures/boot-tree.ts";
import { type Loss, MemoryVolume, PowerLoss } from "../../fixtures/memory-volume.ts";
import { bootCases } from "../boot-goldens.ts";

interface Scenario {
  id: string;
  step: "install" | "upgrade" | "finalize" | "rollback";
  boot_type: "bls" | "uki";
  bootloader: BootLoader;
  before: Record<string, string>;
  after: Record<string, string>;
  root_kargs?: string[];
  user_kargs?: string[];
  insecure?: boolean;
  boot_is_mountpoint?: boolean;
  boot_mount_karg?: string;
  booted?: string;
  booted_kargs_d?: string[];
  uki_key?: "efi" | "uki";
  esp_uuid?: string;
  boot_digest?: string;
  deployment?: {
    digest: string;
    os_release?: string | null;
    os_id?: string;
    label?: string;
    version?: string;
    vmlinuz?: string;
    initrd?: string;
    kargs_d?: string[];
  };
}

const SCENARIOS = bootCases<Scenario>("bootc-scenarios");

function bootFile(path: string, text: string): BootFile {
  const stat = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS };
  return { path: utf8ByteString(path), leaf: new Leaf(stat, { kind: "inline", bytes: Buffer.from(text) }) };
}

const open: OpenFile = ({ leaf: { content } }) => {
  if (content.kind !== "inline") throw new Error("every file here is inline");
  return { size: content.bytes.length, chunks: () => [content.bytes], [Symbol.dispose]: () => undefined };
};

async function planOf(c: Scenario, volume: MemoryVolume): Promise<BootStep[]> {
  const { bootloader: loader, deployment: d, booted = "" } = c;
  const before = new MemoryVolume(c.before, { exchange: false });
  const menu = readEntryMenu(volume, "active", loader);
  const grub = parseGrubConfig(volume.files()["grub2/user.cfg"] ?? "");
  switch (c.step) {
    case "finalize":
      return planFinalize(loader, c.boot_type);
    case "rollback":
      return loader === "grub" && c.boot_type === "uki"
        ? planGrubRollback(grub, grubEntryDigest(parseGrubConfig(c.before["grub2/user.cfg"]!)[1]!))
        : planEntryRollback(loader, menu, readEntryMenu(before, "active", loader).entries[1]!.digest, "bootc");
    default:
  }
  const { digest = "", os_release, os_id = "", label = "", version = "" } = d ?? {};
  if (c.boot_type === "uki") {
    const deployment: BootDeployment = { digest, osId: os_id, title: label, version };
    const uki = { kind: "uki" as const, uki: bootFile("/boot/EFI/Linux/u.efi", "<uki>"), addons: [] };
    const common = { loader, deployment, uki, key: c.uki_key ?? "efi" };
    return c.step === "install"
      ? planUkiInstall({ ...common, espUuid: c.esp_uuid })
      : planUkiUpgrade({ ...common, booted, menu, grub });
  }
  const kernel = {
    kind: "bls" as const,
    vmlinuz: bootFile("/usr/lib/modules/6/vmlinuz", d?.vmlinuz ?? ""),
    initrd: bootFile("/usr/lib/modules/6/initramfs.img", d?.initrd ?? ""),
  };
  const bootDigest = await kernelBootDigest(kernel, open);
  if (c.boot_digest !== undefined) expect(bootDigest).toBe(c.boot_digest);
  const common = {
    loader,
    kernel,
    deployment: describeDeployment(digest, typeof os_release === "string" ? OsRelease.parse(os_release) : undefined),
    insecure: c.insecure ?? false,
    bootIsMountPoint: c.boot_is_mountpoint ?? false,
    imageKargs: (d?.kargs_d ?? []).join(" "),
  };
  return c.step === "install"
    ? planKernelInstall({
        ...common,
        rootArguments: c.root_kargs ?? [],
        userArguments: c.user_kargs ?? [],
        bootMountArgument: c.boot_mount_karg,
      })
    : planKernelUpgrade({
        ...common,
        menu,
        booted,
        bootedKargs: (c.booted_kargs_d ?? []).join(" "),
        bootDigest,
        kernelDirectories: await kernelDirectoryDigests(volume, loader),
      });
}

// In the scenarios everything of GRUB lies below /boot, everything of others on the ESP.
function volumesOf(c: Scenario, volume: MemoryVolume) {
  const esp = new MemoryVolume({}, { exchange: false });
  return entryVolume(c.bootloader) === "boot" ? { boot: volume, esp } : { esp: volume };
}

describe.each([true, false])("recorded steps, exchange of directories: %s", (exchange) => {
  test.each(SCENARIOS)("$id", async (c) => {
    const volume = new MemoryVolume(c.before, { exchange });
    const results = await carryOut(volumesOf(c, volume), await planOf(c, volume), { open });
    expect(volume.files()).toEqual(c.after);
    const methods = results.filter(({ step }) => step.do === "activate").map(({ method }) => method);
    for (const method of methods) expect(method).toBe(exchange ? "exchange" : "file-by-file");
  });
});

/** What the boot loader would start: the deployment of the first entry whose files are all there. */
function defaultOf(c: Scenario, volume: MemoryVolume): string | undefined {
  const files = volume.files();
  if (c.bootloader === "grub" && c.boot_type === "uki") {
    const [first] = parseGrubConfig(files["grub2/user.cfg"] ?? "");
    return first && grubEntryDigest(first);
  }
  const [first] = readEntryMenu(volume, "active", c.bootloader).entries;
  if (first === undefined) return undefined;
  const { target, initrd } = first.entry;
  for (const path of target.kind === "linux" ? [target.linux, ...initrd] : [target.path]) {
    const file = path.replace(/^\/(boot\/(?=bootc))?/, "");
    if (!["K1", "K2", "I1", "I2", "<uki>"].includes(files[file] ?? "")) return undefined;
  }
  return first.digest;
}

const FOREIGN = {
  "loader/entries/memtest.conf": "title Memory test\nversion 7\nefi /EFI/memtest.efi\n",
  "loader/entries/broken.conf": "title x\n",
  "loader/entries/notes.txt": "x\n",
};

describe.each([true, false])("a loss of power at every change, exchange of directories: %s", (exchange) => {
  test.each(SCENARIOS.filter(({ step }) => step !== "install"))("$id", async (c) => {
    const before = { ...c.before, ...(c.boot_type === "uki" && c.bootloader === "grub" ? {} : FOREIGN) };
    const make = () => new MemoryVolume(before, { exchange });
    const old = defaultOf(c, make());
    const whole = make();
    await carryOut(volumesOf(c, whole), await planOf(c, whole), { open });
    const next = defaultOf(c, whole);
    const { changes } = whole;
    expect(old, "the old default").toBeDefined();
    expect(next, "the new default").toBeDefined();
    expect(changes).toBeGreaterThan(1);
    let seenOld = 0;
    let seenNew = 0;
    for (const loss of ["lose", "keep"] satisfies Loss[])
      for (let cut = 0; cut < changes; cut++) {
        const volume = make();
        const steps = await planOf(c, volume);
        volume.cutAt(cut);
        await expect(carryOut(volumesOf(c, volume), steps, { open })).rejects.toThrow(PowerLoss);
        const rebooted = volume.reboot(loss);
        const where = `${loss}, before change ${cut}: ${volume.log.at(-1)}`;
        const now = defaultOf(c, rebooted);
        expect([old, next], where).toContain(now);
        if (now === old) seenOld++;
        else seenNew++;
        // Both deployments of the menu stay bootable throughout, and files of others stay.
        const digests = (v: MemoryVolume) =>
          new Set(readEntryMenu(v, "active", c.bootloader).entries.map(({ digest }) => digest));
        if (c.step === "rollback") expect(digests(rebooted), where).toEqual(digests(whole));
        for (const [path, text] of Object.entries(FOREIGN))
          if (path in before) expect(rebooted.files()[path], where).toBe(text);
        // Doing it again ends where it would have ended without the loss.
        const again =
          c.step === "rollback" && now === next ? planFinalize(c.bootloader, c.boot_type) : await planOf(c, rebooted);
        await carryOut(volumesOf(c, rebooted), again, { open });
        expect(ordered(rebooted.files()), where).toEqual(ordered(whole.files()));
      }
    expect(seenOld).toBeGreaterThan(0);
    if (c.step !== "upgrade") expect(seenNew).toBeGreaterThan(0);
  });
});

test.each(SCENARIOS.filter(({ step }) => step === "install"))(
  "$id, cut anywhere: no entry before what it boots is there",
  async (c) => {
    const whole = new MemoryVolume({}, { exchange: true });
    await carryOut(volumesOf(c, whole), await planOf(c, whole), { open });
    for (const loss of ["lose", "keep"] satisfies Loss[])
      for (let cut = 0; cut < whole.changes; cut++) {
        const volume = new MemoryVolume({}, { exchange: true });
        volume.cutAt(cut);
        await expect(carryOut(volumesOf(c, volume), await planOf(c, volume), { open })).rejects.toThrow(PowerLoss);
        const rebooted = volume.reboot(loss);
        const hasMenu = Object.keys(rebooted.files()).some(
          (path) => /\.conf$|user\.cfg$/.test(path) && path !== "loader/loader.conf",
        );
        expect(defaultOf(c, rebooted) !== undefined, `${loss}, ${cut}`).toBe(hasMenu);
        await carryOut(volumesOf(c, rebooted), await planOf(c, rebooted), { open });
        expect(ordered(rebooted.files())).toEqual(ordered(whole.files()));
      }
  },
);

describe("on disk", () => {
  const c = SCENARIOS.find(({ id }) => id === "finalize-uki-systemd")!;
  test.each([false, true])("an activation, file by file: %s", async (fileByFile) => {
    const root = mkdtempSync(join(tmpdir(), "composefs-activate-"));
    try {
      for (const [path, text] of Object.entries({ ...c.before, ...FOREIGN })) {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        writeFileSync(join(root, path), text);
      }
      const [result] = await carryOut({ esp: new DirectoryVolume(root) }, planFinalize("systemd", "uki"), {
        open,
        fileByFile,
      });
      const canExchange = !fileByFile && syscalls().provider === "koffi";
      expect(result?.method).toBe(canExchange ? "exchange" : "file-by-file");
      const there = readdirSync(root, { recursive: true, encoding: "utf8", withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(root, join(entry.parentPath, entry.name)));
      expect(there.toSorted()).toEqual(Object.keys({ ...c.after, ...FOREIGN }).toSorted());
      const again = await carryOut({ esp: new DirectoryVolume(root) }, planFinalize("systemd", "uki"), {
        open,
        fileByFile,
      });
      expect(again[0]?.method).toBe("none");
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

describe("refused", () => {
  const deployment: BootDeployment = { digest: "d", osId: "x", title: "t", version: "1" };
  const uki = { kind: "uki" as const, uki: bootFile("/u.efi", "<uki>"), addons: [] };

  test("user arguments for a UKI, an ESP that is not known", () => {
    expect(() => planUkiInstall({ loader: "systemd", deployment, uki, userArguments: ["rw"] })).toThrow(
      expect.objectContaining({ code: "usage", reason: "cmdline-on-uki" }),
    );
    for (const espUuid of [undefined, "", '"; rm'])
      expect(() => planUkiInstall({ loader: "grub", deployment, uki, espUuid })).toThrow(
        expect.objectContaining({ code: "usage" }),
      );
  });

  test("an upgrade from a deployment without entry, with what was passed over", () => {
    const menu = readMenu("systemd", [{ name: "memtest.conf", text: FOREIGN["loader/entries/memtest.conf"] }]);
    expect(() => planUkiUpgrade({ loader: "systemd", deployment, uki, booted: "b", menu })).toThrow(
      expect.objectContaining({ code: "not-found", hint: "passed over as not ours or broken: memtest.conf" }),
    );
    expect(() => planUkiUpgrade({ loader: "grub", deployment, uki, booted: "b" })).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
  });

  test("a UKI of another image", () => {
    const digest = "ab".repeat(64);
    const options = { loader: "systemd" as const, deployment: { ...deployment, digest }, uki };
    expect(planUkiInstall({ ...options, commandLine: `rw composefs=?${digest}` }).length).toBe(3);
    const other = { ...options, commandLine: `composefs=${"cd".repeat(64)}` };
    expect(() => planUkiInstall(other)).toThrow(expect.objectContaining({ reason: "uki-digest-mismatch" }));
    expect(() => planUkiUpgrade({ ...other, booted: "b" })).toThrow(
      expect.objectContaining({ reason: "uki-digest-mismatch" }),
    );
  });

  test("arguments that name another image, or swallow the one of this", () => {
    const kernel = { kind: "bls" as const, vmlinuz: bootFile("/k", "K"), initrd: bootFile("/i", "I") };
    const install = (more: Partial<KernelInstallOptions>) =>
      planKernelInstall({ loader: "grub", deployment, kernel, rootArguments: ["rw"], ...more });
    expect(install({}).length).toBe(3);
    for (const more of [
      { userArguments: ["composefs=x"] },
      { imageKargs: '"composefs.digest=x"' },
      { userArguments: ['a="b'] },
    ])
      expect(() => install(more)).toThrow(expect.objectContaining({ code: "invalid" }));
    const upgrade = (options: string) => {
      const text = `version 1\nlinux /d/vmlinuz\noptions ${options}\n`;
      const menu = readMenu("grub", [{ name: "a.conf", text }]);
      return planKernelUpgrade({
        loader: "grub",
        deployment,
        kernel,
        menu,
        booted: "b",
        bootDigest: "",
        kernelDirectories: new Map(),
      });
    };
    expect(upgrade("composefs=b composefs.digest=v1:c rw").length).toBe(3);
    expect(() => upgrade('composefs=b a="')).not.toThrow();
    expect(() => upgrade('a="b" composefs=b c="d" "')).not.toThrow();
    expect(() => upgrade("composefs=c")).toThrow(expect.objectContaining({ code: "not-found" }));
  });

  test("dropping what is staged leaves the menu alone", async () => {
    const { before } = SCENARIOS.find(({ id }) => id === "finalize-bls")!;
    const volume = new MemoryVolume(before, { exchange: true });
    dropStagedEntries(volume);
    const kept = Object.entries(before).filter(([path]) => !path.includes("entries.staged"));
    expect(volume.files()).toEqual(Object.fromEntries(kept));
    expect(await activateEntries(volume, "grub")).toEqual({ method: "none" });
    dropStagedEntries(new MemoryVolume({}, { exchange: true }));
  });

  test("activating a set without any deployment, which would leave nothing to boot", async () => {
    const files = {
      "loader/entries/a.conf": "x\n",
      "loader/entries.staged/memtest.conf": FOREIGN["loader/entries/memtest.conf"],
    };
    const volume = new MemoryVolume(files, { exchange: true });
    await expect(activateEntries(volume, "systemd")).rejects.toMatchObject({ code: "invalid" });
    expect(volume.files()).toEqual(files);
  });

  test("a deployment of an image with its own entry, two UKIs, a missing addon, no initramfs", async () => {
    const choose = async (tree: BootTreeEntry[], addons: string[] = []) =>
      chooseDeploymentBoot(await discoverBootResources(bootTree(tree), () => new Uint8Array()), addons);
    const big = "x".repeat(100);
    const kernel: BootTreeEntry = { p: "/usr/lib/modules/6/vmlinuz", t: "f", c: "K" };
    const efi = (name: string): BootTreeEntry => ({ p: `/boot/EFI/Linux/${name}.efi`, t: "f", c: big });
    await expect(choose([{ p: "/boot/loader/entries/a.conf", t: "f", c: "title x\n" }, kernel])).rejects.toMatchObject({
      code: "unsupported",
    });
    await expect(choose([kernel])).rejects.toMatchObject({ reason: "no-initramfs" });
    await expect(choose([])).rejects.toMatchObject({ reason: "no-entries" });
    await expect(choose([efi("a"), efi("b")])).rejects.toMatchObject({
      message: expect.stringContaining("b.efi") as string,
    });
    await expect(choose([efi("a")])).rejects.toMatchObject({ reason: "uki-not-pe" });
    const { stat } = bootFile("/x", "").leaf;
    const stored = (type: "uki" | "addon", name: string): BootResource => {
      const file = {
        path: `/boot/EFI/Linux/${name}`,
        leaf: new Leaf(stat, { kind: "external", size: 1e6, digest: "d" }),
      };
      return { kind: "type2", type, kernel: undefined, relative: name, file };
    };
    const resources = [stored("addon", "a.efi.extra.d/x.addon.efi"), stored("uki", "a.efi")];
    expect(() => chooseDeploymentBoot(resources, ["y"])).toThrow(
      expect.objectContaining({ code: "not-found", hint: "it has x.addon.efi" }),
    );
    const chosen = chooseDeploymentBoot(resources, ["x"]);
    const steps = planUkiInstall({ loader: "systemd", deployment, uki: chosen as DeploymentUki });
    expect(steps.slice(0, 2)).toMatchObject([
      { path: "EFI/Linux/bootc/bootc_composefs-d.efi" },
      { path: "EFI/Linux/bootc/bootc_composefs-d.efi.extra.d/x.addon.efi" },
    ]);
  });
});

function ordered(files: Record<string, string>): [string, string][] {
  return Object.entries(files)
    .filter(([path]) => !/(^|\/)\.composefs-[0-9a-f]{16}$/.test(path))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

test("every recorded kernel has the boot digest of its bytes", () => {
  const first = SCENARIOS.find(({ boot_digest }) => boot_digest !== undefined)!;
  const { vmlinuz = "", initrd = "" } = first.deployment ?? {};
  expect(createHash("sha256").update(vmlinuz).update(initrd).digest("hex")).toBe(first.boot_digest);
});
