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
  firstCommandLine,
  type FirstLineOptions,
  nextCommandLine,
  type PlannedBoot,
  type PlannedEntry,
  planKernelBoot,
  planUkiBoot,
  sharedKernel,
} from "../../../src/boot/install/plan.ts";
import { OsRelease } from "../../../src/boot/os-release.ts";
import type { BootFile, BootResource } from "../../../src/boot/resource.ts";
import { DirectoryVolume } from "../../../src/boot/change/volume.ts";
import { activateMenu, stageMenu } from "../../../src/deploy/menu-files.ts";
import { writeMenu } from "../../../src/deploy/rollback.ts";
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

/** The entries of the active menu as they are written anew. */
function entriesOf(
  { boot_type, bootloader }: Scenario,
  volume: MemoryVolume,
): { digest: string; source: PlannedEntry }[] {
  if (bootloader === "grub" && boot_type === "uki")
    return parseGrubConfig(volume.files()["grub2/user.cfg"] ?? "").map((entry) => ({
      digest: grubEntryDigest(entry),
      source: { kind: "grub", entry },
    }));
  const seen = new Set<string>();
  return readEntryMenu(volume, "active", bootloader)
    .entries.filter(({ digest }) => !seen.has(digest) && seen.add(digest))
    .map(({ digest, entry }) => ({ digest, source: { kind: "bls", entry } }));
}

async function planOf(c: Scenario, volume: MemoryVolume): Promise<PlannedBoot> {
  const { bootloader: loader, deployment: d, booted = "" } = c;
  const { digest = "", os_release, os_id = "", label = "", version = "" } = d ?? {};
  const isInstall = c.step === "install";
  if (c.boot_type === "uki") {
    const deployment: BootDeployment = { digest, osId: os_id, title: label, version };
    const uki = { kind: "uki" as const, uki: bootFile("/boot/EFI/Linux/u.efi", "<uki>"), addons: [] };
    return planUkiBoot({ loader, deployment, uki, key: c.uki_key, espUuid: c.esp_uuid, configExists: !isInstall });
  }
  const kernel = {
    kind: "bls" as const,
    vmlinuz: bootFile("/usr/lib/modules/6/vmlinuz", d?.vmlinuz ?? ""),
    initrd: bootFile("/usr/lib/modules/6/initramfs.img", d?.initrd ?? ""),
  };
  const bootDigest = await kernelBootDigest(kernel, open);
  if (c.boot_digest !== undefined) expect(bootDigest).toBe(c.boot_digest);
  const line = { digest, insecure: c.insecure ?? false, imageKargs: (d?.kargs_d ?? []).join(" ") };
  const current = entriesOf(c, volume).find((one) => one.digest === booted)?.source;
  const options = isInstall
    ? firstCommandLine({
        ...line,
        arguments: [...(c.root_kargs ?? []), ...(c.user_kargs ?? [])],
        bootMountArgument: c.boot_mount_karg,
      })
    : nextCommandLine({
        ...line,
        current: (current?.kind === "bls" ? current.entry.options : undefined) ?? "",
        currentKargs: (c.booted_kargs_d ?? []).join(" "),
        source: "the entry",
      });
  return planKernelBoot({
    loader,
    kernel,
    deployment: describeDeployment(digest, typeof os_release === "string" ? OsRelease.parse(os_release) : undefined),
    bootIsMountPoint: c.boot_is_mountpoint ?? false,
    shared: isInstall ? undefined : sharedKernel(await kernelDirectoryDigests(volume, loader), bootDigest),
    options,
  });
}

/** Carries out a step of a deployment's life as the operations do it; resolves to how the menu became active. */
async function carryOutStep(c: Scenario, volume: MemoryVolume): Promise<string | undefined> {
  const { bootloader: loader, booted, deployment } = c;
  const entries = entriesOf(c, volume);
  if (c.step === "rollback") {
    const second = entriesOf(c, new MemoryVolume(c.before, { exchange: false }))[1]?.digest;
    const first = entries.filter(({ digest }) => digest === second);
    const others = entries.filter(({ digest }) => digest !== second);
    await stageMenu(volume, writeMenu(loader, [...first, ...others], "bootc"));
  } else if (c.step !== "finalize") {
    const plan = await planOf(c, volume);
    await carryOut(volumesOf(c, volume), plan.files, { open });
    const { os_release, os_id } = deployment ?? {};
    const release = typeof os_release === "string" ? OsRelease.parse(os_release) : undefined;
    const osId = c.boot_type === "uki" ? os_id : describeDeployment("", release).osId;
    const second = entries.filter(({ digest }) => digest === booted);
    await stageMenu(volume, writeMenu(loader, [{ source: plan.entry }, ...second], osId));
    if (c.step === "upgrade") return undefined;
  }
  return (await activateMenu(volume, loader)).method;
}

// In the scenarios everything of GRUB lies below /boot, everything of others on the ESP.
function volumesOf(c: Scenario, volume: MemoryVolume) {
  const esp = new MemoryVolume({}, { exchange: false });
  return entryVolume(c.bootloader) === "boot" ? { boot: volume, esp } : { esp: volume };
}

describe.each([true, false])("recorded steps, exchange of directories: %s", (exchange) => {
  test.each(SCENARIOS)("$id", async (c) => {
    const volume = new MemoryVolume(c.before, { exchange });
    const method = await carryOutStep(c, volume);
    expect(volume.files()).toEqual(c.after);
    const hasOld =
      (volume.files()["grub2/user.cfg"] ?? c.before["loader/entries/x"]) === undefined && c.step !== "install";
    if (method !== undefined && hasOld) expect(method).toBe(exchange ? "exchange" : "file-by-file");
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
    await carryOutStep(c, whole);
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
        volume.cutAt(cut);
        await expect(carryOutStep(c, volume)).rejects.toThrow(PowerLoss);
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
        if (c.step === "rollback" && now === next) await activateMenu(rebooted, c.bootloader);
        else await carryOutStep(c, rebooted);
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
    await carryOutStep(c, whole);
    for (const loss of ["lose", "keep"] satisfies Loss[])
      for (let cut = 0; cut < whole.changes; cut++) {
        const volume = new MemoryVolume({}, { exchange: true });
        volume.cutAt(cut);
        await expect(carryOutStep(c, volume)).rejects.toThrow(PowerLoss);
        const rebooted = volume.reboot(loss);
        const hasMenu = Object.keys(rebooted.files()).some((path) =>
          /^loader\/entries\/.*\.conf$|user\.cfg$/.test(path),
        );
        expect(defaultOf(c, rebooted) !== undefined, `${loss}, ${cut}`).toBe(hasMenu);
        await carryOutStep(c, rebooted);
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
      const result = await activateMenu(new DirectoryVolume(root), "systemd", { fileByFile });
      const canExchange = !fileByFile && syscalls().provider === "koffi";
      expect(result.method).toBe(canExchange ? "exchange" : "file-by-file");
      const there = readdirSync(root, { recursive: true, encoding: "utf8", withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(root, join(entry.parentPath, entry.name)));
      expect(there.toSorted()).toEqual(Object.keys({ ...c.after, ...FOREIGN }).toSorted());
      const again = await activateMenu(new DirectoryVolume(root), "systemd", { fileByFile });
      expect(again.method).toBe("none");
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

describe("refused", () => {
  const deployment: BootDeployment = { digest: "d", osId: "x", title: "t", version: "1" };
  const uki = { kind: "uki" as const, uki: bootFile("/u.efi", "<uki>"), addons: [] };

  test("user arguments for a UKI, an ESP that is not known", () => {
    expect(() => planUkiBoot({ loader: "systemd", deployment, uki, arguments: ["rw"] })).toThrow(
      expect.objectContaining({ code: "usage", reason: "cmdline-on-uki" }),
    );
    for (const espUuid of [undefined, "", '"; rm'])
      expect(() => planUkiBoot({ loader: "grub", deployment, uki, espUuid })).toThrow(
        expect.objectContaining({ code: "usage" }),
      );
  });

  test("a UKI of another image", () => {
    const digest = "ab".repeat(64);
    const options = { loader: "systemd" as const, deployment: { ...deployment, digest }, uki };
    expect(planUkiBoot({ ...options, commandLine: `rw composefs=?${digest}` }).files.length).toBe(2);
    const other = { ...options, commandLine: `composefs=${"cd".repeat(64)}` };
    expect(() => planUkiBoot(other)).toThrow(expect.objectContaining({ reason: "uki-digest-mismatch" }));
  });

  test("arguments that name another image, or swallow the one of this", () => {
    const install = (more: Partial<FirstLineOptions>) => firstCommandLine({ digest: "d", arguments: ["rw"], ...more });
    expect(install({})).toBe("rw composefs=d");
    for (const more of [
      { arguments: ["composefs=x"] },
      { imageKargs: '"composefs.digest=x"' },
      { arguments: ['a="b'] },
    ])
      expect(() => install(more)).toThrow(expect.objectContaining({ code: "invalid" }));
    const upgrade = (current: string, more: readonly string[] = []) =>
      nextCommandLine({ digest: "d", current, source: "a.conf", arguments: more });
    expect(upgrade("composefs=b composefs.digest=v1:c rw", ["quiet"])).toBe("composefs=d rw quiet");
    expect(() => upgrade('composefs=b a="')).not.toThrow();
    expect(() => upgrade('a="b" composefs=b c="d" "')).not.toThrow();
    expect(() => upgrade("composefs=b", ["composefs=c"])).toThrow(expect.objectContaining({ path: "a.conf" }));
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
    const { files } = planUkiBoot({ loader: "systemd", deployment, uki: chosen as DeploymentUki });
    expect(files.slice(0, 2)).toMatchObject([
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
