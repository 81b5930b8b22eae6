// What refuses an installation, an upgrade or a switch: each with its code, in words that name what is concerned, and with nothing changed
// that boots.

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { startFinalizeService } from "../../src/deploy/finalize-service.ts";
import { freeSpace } from "../../src/deploy/free-space.ts";
import { type HostImage, parseHostImage } from "../../src/deploy/image-reference.ts";
import { type InstallOptions, installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { switchDeployment } from "../../src/deploy/switch.ts";
import { pull } from "../../src/oci/pull.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { Repository } from "../../src/repository/repository.ts";
import { storedTree } from "../../src/repository/stored-tree.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { type HostImageParts, hostLayout, sealedHostLayout } from "./host-images.ts";

vi.mock("../../src/deploy/free-space.ts", { spy: true });

let root: string;
let paths: SysrootPaths & { readonly sysroot: string };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-errors-"));
  for (const name of ["sysroot", "esp"]) mkdirSync(join(root, name));
  paths = { sysroot: join(root, "sysroot"), esp: join(root, "esp"), bootloader: "systemd", offline: true };
});

afterEach(() => {
  vi.mocked(freeSpace).mockReset();
  rmSync(root, { recursive: true, force: true });
});

const image = (name = "image"): HostImage => ({ transport: "oci", image: join(root, name) });
const layout = (parts: HostImageParts, name = "image") => hostLayout(join(root, name), parts);
const install = (options: InstallOptions = {}, from = image()) =>
  installDeployment(paths, from, { verity: "allow-missing", ...options });

async function opened<T>(use: (sysroot: OpenSysroot) => Promise<T>): Promise<T> {
  await using sysroot = await OpenSysroot.open(locateSysroot(paths));
  return await use(sysroot);
}

const upgrade = (options: Parameters<typeof upgradeDeployment>[1] = {}) =>
  opened((sysroot) => upgradeDeployment(sysroot, options));
const switchTo = (name: string, options: Parameters<typeof switchDeployment>[2] = {}) =>
  opened((sysroot) => switchDeployment(sysroot, image(name), options));

// Everything but the repository, by content.
function bootable(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const directory of [join(paths.sysroot, "state"), join(root, "esp"), join(paths.sysroot, "boot")]) {
    if (statSync(directory, { throwIfNoEntry: false }) === undefined) continue;
    for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
      const path = join(directory, name);
      if (statSync(path, { throwIfNoEntry: false })?.isFile())
        found[path] = createHash("sha256").update(readFileSync(path)).digest("hex");
    }
  }
  return found;
}

async function refused(call: () => Promise<unknown>, expected: object): Promise<void> {
  const before = bootable();
  await expect(call()).rejects.toMatchObject(expected);
  expect(bootable()).toEqual(before);
}

describe("the image", () => {
  test("boots nothing, at an installation and at a switch", async () => {
    const manifest = layout({ version: "1", bootless: true }, "bootless");
    await refused(() => install({}, image("bootless")), {
      reason: "E_NO_BOOT_ENTRIES",
      digest: manifest,
      message: expect.stringContaining(manifest),
    });
    layout({ version: "1" });
    await install();
    await refused(() => switchTo("bootless"), { reason: "E_NO_BOOT_ENTRIES", digest: manifest });
  });

  test("has a UKI of another image: both digests are named", async () => {
    const wanted = "ab".repeat(64);
    layout({ version: "1", uki: `composefs=${wanted}` });
    await refused(install, {
      code: "digest-mismatch",
      reason: "E_UKI_DIGEST",
      path: "/boot/EFI/Linux/demo.efi",
      digest: wanted,
      message: expect.stringMatching(new RegExp(`${wanted}.*[0-9a-f]{128}`)),
    });
    layout({ version: "1", uki: "rw" });
    await refused(install, { reason: "E_UKI_DIGEST", message: expect.stringContaining("names no composefs image") });
  });

  test("has a UKI of another image, and a dump of what was sealed", async () => {
    layout({ version: "1", bootless: true });
    const scratch = join(root, "scratch");
    await Repository.init(scratch, { insecure: true });
    await using repository = await Repository.open(scratch, { write: true });
    const { bootImages } = await pull(repository, `oci:${join(root, "image")}`, { bootable: true });
    const sealed = [...dumpTree(storedTree(repository, bootImages[0]?.id ?? ""))].join("");
    const dump = { path: "boot/demo.dump", content: Buffer.from(sealed) };
    const touched = { path: "etc/late.conf", content: Buffer.from("x") };
    layout({ version: "1", uki: `composefs=${bootImages[0]?.id}`, more: [dump, touched] });
    await refused(install, {
      reason: "E_UKI_DIGEST",
      message: expect.stringContaining("compared with /boot/demo.dump: /etc/late.conf was added"),
    });
  });

  test("has a UKI for another format than the repository's, which is found", async () => {
    await sealedHostLayout(join(root, "image"), { version: "1" }, { algorithm: "sha512", format: 2 });
    const { id, bootType } = await install({ erofsVersion: 1 });
    expect(bootType).toBe("uki");
    expect(readdirSync(join(root, "esp/EFI/Linux/bootc"))).toEqual([`bootc_composefs-${id}.efi`]);
    expect(readdirSync(join(paths.sysroot, "composefs/images"))).toContain(id);
  });

  test("has a broken kargs.d", async () => {
    layout({ version: "1", kargs: "kargs = 7\n" });
    await refused(install, {
      reason: "E_KARGS_FILE",
      path: "usr/lib/bootc/kargs.d/10.toml",
      line: 1,
      message: expect.stringContaining("kargs.d/10.toml, line 1"),
    });
  });

  test("has a UKI, and arguments were given", async () => {
    await sealedHostLayout(join(root, "image"), { version: "1" }, { algorithm: "sha512", format: 1 });
    await refused(() => install({ kargs: ["quiet"] }), { reason: "cmdline-on-uki" });
  });

  test("has a UKI, and GRUB has no ESP, or does not know which", async () => {
    await sealedHostLayout(join(root, "image"), { version: "1" }, { algorithm: "sha512", format: 1 });
    paths = { sysroot: paths.sysroot, bootloader: "grub", offline: true };
    await refused(install, { reason: "E_NO_ESP", hint: expect.stringContaining("--esp") });
    paths = { ...paths, esp: join(root, "esp") };
    await refused(install, { code: "usage", hint: expect.stringContaining("--esp-uuid") });
    await install({ espUuid: "12AB-CD34" });
  });

  test("has a UKI where GRUB boots kernels, or the other way round", async () => {
    paths = { ...paths, bootloader: "grub" };
    layout({ version: "1" });
    const { id } = await install();
    await sealedHostLayout(join(root, "uki"), { version: "2" }, { algorithm: "sha512", format: 1 });
    await refused(() => switchTo("uki", { espUuid: "12AB-CD34" }), {
      code: "unsupported",
      digest: id,
      message: expect.stringContaining("GRUB shows only one kind"),
    });
  });
});

describe("the sysroot", () => {
  test("is not there, has no ESP, or a boot loader that cannot be told", async () => {
    layout({ version: "1" });
    const { sysroot } = paths;
    paths = { ...paths, sysroot: join(root, "nowhere") };
    await expect(install()).rejects.toMatchObject({ code: "not-found", path: join(root, "nowhere") });
    paths = { sysroot, bootloader: "systemd", offline: true };
    await refused(install, { reason: "E_NO_ESP" });
    paths = { ...paths, esp: join(root, "missing") };
    await refused(install, { reason: "E_NO_ESP", path: join(root, "missing") });
    paths = { sysroot, offline: true };
    await refused(install, { reason: "E_BOOTLOADER_UNKNOWN" });
    expect(readdirSync(sysroot)).toEqual([]);
  });

  // A thread, as files are on Bun, cannot become another user.
  test.skipIf(process.getuid?.() === 0 && process.versions["bun"] !== undefined)("cannot be written", async () => {
    layout({ version: "1" });
    chmodSync(root, 0o755);
    chmodSync(paths.sysroot, 0o555);
    const before = process.geteuid?.() ?? 0;
    if (before === 0) process.seteuid?.(65534);
    try {
      await refused(install, { reason: "E_READ_ONLY", message: expect.stringContaining(paths.sysroot) });
    } finally {
      if (before === 0) process.seteuid?.(before);
      chmodSync(paths.sysroot, 0o755);
    }
  });

  test("is being changed by another process", async () => {
    layout({ version: "1" });
    await install();
    await opened(async () => {
      await expect(OpenSysroot.open(locateSysroot(paths), { lock: { timeoutMs: 0 } })).rejects.toMatchObject({
        reason: "E_LOCKED",
      });
    });
  });

  test("has a deployment already; with --allow-existing the new one comes first", async () => {
    layout({ version: "1" });
    const first = (await install()).id;
    layout({ version: "2" }, "second");
    await refused(() => install({}, image("second")), {
      reason: "E_ALREADY_INSTALLED",
      digest: first,
      path: paths.sysroot,
    });
    await refused(() => install({ dryRun: true }, image("second")), { reason: "E_ALREADY_INSTALLED" });
    const { id, order } = await install({ allowExisting: true }, image("second"));
    expect(order).toEqual([id, first]);
    await refused(() => install({ allowExisting: true }, image("second")), {
      reason: "E_ALREADY_INSTALLED",
      digest: id,
    });
  });

  test("has a broken user.cfg", async () => {
    paths = { ...paths, bootloader: "grub" };
    layout({ version: "1" });
    await install();
    mkdirSync(join(paths.sysroot, "boot/grub2"), { recursive: true });
    writeFileSync(join(paths.sysroot, "boot/grub2/user.cfg"), "menuentry 'x' {\n");
    layout({ version: "2" }, "second");
    for (const call of [() => upgrade(), () => switchTo("second"), () => install({ allowExisting: true })])
      await refused(call, { reason: "E_GRUB_CFG" });
  });

  test("has no deployment that could be upgraded, or not the one that is named", async () => {
    layout({ version: "1" });
    const { id = "" } = await install();
    await refused(() => upgrade({ base: "f".repeat(128) }), {
      reason: "E_DEPLOYMENT_NOT_FOUND",
      digest: "f".repeat(128),
    });
    await refused(() => upgrade({ base: null }), { reason: "E_NO_IMAGE_SOURCE" });
    const origin = join(paths.sysroot, "state/deploy", id, `${id}.origin`);
    writeFileSync(origin, readFileSync(origin, "utf8").replace(/^container.*\n/m, ""));
    await refused(() => upgrade(), { reason: "E_NO_IMAGE_SOURCE", digest: id, message: expect.stringContaining(id) });
    await refused(() => upgrade({ fromDownloaded: true }), { reason: "E_NO_STAGED" });
  });

  test("has the deployment with an origin that cannot be read: its state is not written anew", async () => {
    layout({ version: "1" });
    const { id = "" } = await install();
    writeFileSync(join(paths.sysroot, "state/deploy", id, `${id}.origin`), "[broken\n");
    layout({ version: "1" }, "same");
    await refused(() => switchTo("same"), { reason: "E_SAME_DEPLOYMENT", slot: "other", digest: id });
  });
});

describe("room", () => {
  const only = (part: string, bytes: number) =>
    vi.mocked(freeSpace).mockImplementation((path) => (path.includes(part) ? bytes : 1e12));

  test("the repository has none for the layers: nothing is fetched", async () => {
    layout({ version: "1" });
    only("/objects", 100);
    await refused(install, { code: "no-space", reason: "E_NO_SPACE", path: join(paths.sysroot, "composefs") });
    expect(readdirSync(join(paths.sysroot, "composefs"))).not.toContain("streams");
  });

  test("the ESP is full: what boots stays", async () => {
    layout({ version: "1" });
    await install();
    layout({ version: "2", kernel: "other" });
    only("esp", 1000);
    await refused(() => upgrade(), {
      code: "no-space",
      reason: "E_NO_SPACE",
      path: join(root, "esp"),
      message: expect.stringMatching(/needs \d+ bytes.*1000 are free, and a collection frees 0 more/),
    });
  });

  test("the ESP is full, but a collection makes room", async () => {
    layout({ version: "1" });
    await install();
    const left = join(root, "esp/EFI/Linux/bootc_composefs-old");
    mkdirSync(left);
    writeFileSync(join(left, "vmlinuz"), Buffer.alloc(1 << 20));
    layout({ version: "2", kernel: "other" });
    only("esp", 1000);
    expect((await upgrade()).decision.action).toBe("stage");
    expect(readdirSync(join(root, "esp/EFI/Linux"))).not.toContain("bootc_composefs-old");
  });
});

describe("references", () => {
  test("whose signatures would have to be checked are not fetched", async () => {
    layout({ version: "1" });
    const signed = parseHostImage(`ostree-image-signed:oci:${join(root, "image")}`);
    await refused(() => install({}, signed), { code: "unsupported", message: expect.stringContaining("signatures") });
  });

  test("that an origin file would lose are refused before anything is written", async () => {
    layout({ version: "1" }, "a#b");
    await refused(() => install({}, image("a#b")), { reason: "E_ORIGIN_VALUE" });
  });

  test("that are not there any more leave everything as it is", async () => {
    layout({ version: "1" });
    await install();
    rmSync(join(root, "image"), { recursive: true });
    await refused(() => upgrade(), { code: "not-found" });
  });
});

test("the service that finalizes cannot be started", () => {
  const path = process.env["PATH"];
  process.env["PATH"] = root;
  try {
    expect(startFinalizeService).toThrow(
      expect.objectContaining({ reason: "E_FINALIZE_SERVICE", hint: expect.stringContaining("--no-service") }),
    );
    writeFileSync(join(root, "systemctl"), "#!/bin/sh\necho no such unit >&2\nexit 5\n", { mode: 0o755 });
    expect(startFinalizeService).toThrow(expect.objectContaining({ message: expect.stringContaining("no such unit") }));
    writeFileSync(join(root, "systemctl"), "#!/bin/sh\nexit 0\n");
    expect(startFinalizeService).not.toThrow();
  } finally {
    process.env["PATH"] = path;
  }
});

test("a dry run writes nothing", async () => {
  layout({ version: "1" });
  await expect(install({ dryRun: true })).resolves.toMatchObject({ dryRun: true, files: [] });
  expect(readdirSync(paths.sysroot)).toEqual([]);
  await install();
  layout({ version: "2" });
  const before = bootable();
  expect(await upgrade({ dryRun: true })).toMatchObject({
    dryRun: true,
    decision: { action: "pull" },
    layers: { added: { layers: 1 } },
  });
  expect(bootable()).toEqual(before);
  // Of an image that is stored already everything is known.
  await opened(({ repository }) => pull(repository, `oci:${join(root, "image")}`, { tag: "stored", bootable: true }));
  expect(await upgrade({ dryRun: true })).toMatchObject({
    decision: { action: "stage" },
    id: expect.stringMatching(/^[0-9a-f]{128}$/),
    planned: { added: [], modified: [] },
  });
  expect(bootable()).toEqual(before);
});
