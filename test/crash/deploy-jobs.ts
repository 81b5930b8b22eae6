// The commands on a sysroot that the crash tests interrupt: what each starts from, how it is done again, and what must hold after a cut.

import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { rollBack } from "../../src/deploy/carry-out-rollback.ts";
import { checkSysroot } from "../../src/deploy/check/check.ts";
import { assertCollected, deployGc, deployGcDryRun } from "../../src/deploy/collect.ts";
import { deleteDeployment } from "../../src/deploy/delete-deployment.ts";
import { finalizeDeployment } from "../../src/deploy/finalize.ts";
import { installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { readMenu } from "../../src/deploy/menu.ts";
import type { MenuEntry } from "../../src/deploy/menu-entry.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { switchDeployment } from "../../src/deploy/switch.ts";
import { readSysroot } from "../../src/deploy/sysroot.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { ComposefsError } from "../../src/error.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { pull } from "../../src/oci/pull.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { Repository } from "../../src/repository/repository.ts";
import { forgetImages } from "../deploy/old-image.ts";
import { bootLayout, kernelBytes } from "../fixtures/boot-layouts.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { tar } from "../fixtures/tar.ts";
import { copyFolder } from "./jobs.ts";
import { workFolder } from "./setup.ts";

/** Every job. */
export const DEPLOY_JOBS = [
  "install",
  "upgrade",
  "switch",
  "finalize",
  "rollback",
  "delete",
  "gc",
  "migration",
] as const;
export type DeployJobName = (typeof DEPLOY_JOBS)[number];

/** A command on a sysroot that lies in a folder of its own. */
export interface DeployJob {
  readonly name: DeployJobName;
  /** Folder to start from. */
  readonly from: string;
  readonly args: (place: string) => string[];
  /** The same again, by the library; harmless when it was done already. */
  readonly again: (place: string) => Promise<void>;
}

/** The jobs, and the folder that holds what they start from. */
export interface DeployJobs extends Disposable {
  readonly folder: string;
  readonly jobs: ReadonlyMap<DeployJobName, DeployJob>;
}

/** The boot loader, and where the ESP lies in a place; undefined where none is needed. */
export interface Loader {
  readonly bootloader: "grub" | "systemd";
  readonly esp?: string;
}

const APP = "apps/web:1";

/** Makes the images and the sysroots that the jobs start from. */
export async function deployJobs(loader: Loader): Promise<DeployJobs> {
  const folder = workFolder();
  try {
    const system = (version: string, path: string) => {
      rmSync(path, { recursive: true, force: true });
      return bootLayout(path, "os", systemFiles(version));
    };
    const layout = join(folder, "layout");
    const other = system("7", join(folder, "other"));
    const fresh = system("1", join(folder, "fresh"));
    const app = writeLayout(join(folder, "app"), "app", [
      {
        tar: tar([
          { path: "usr/", type: "directory" },
          { path: "usr/app", content: kernelBytes("app", 5000) },
        ]),
        compression: "gzip",
      },
    ]);
    const place = (name: string, like?: string) => {
      const path = join(folder, name);
      if (like === undefined) mkdirSync(join(path, "boot"), { recursive: true });
      else copyFolder(like, path);
      return path;
    };
    const pathsOf = (path: string): SysrootPaths & { sysroot: string } => ({
      sysroot: path,
      bootloader: loader.bootloader,
      ...(loader.esp !== undefined && { esp: join(path, loader.esp) }),
    });
    const opened = async <T>(path: string, action: (sysroot: OpenSysroot) => Promise<T>): Promise<T> => {
      await using sysroot = await OpenSysroot.open(locateSysroot(pathsOf(path)));
      return await action(sysroot);
    };
    const reference = { transport: "oci", image: `${layout}:os` } as const;
    const ids = new Map<string, string>();

    const empty = place("empty");
    if (loader.esp !== undefined) mkdirSync(join(empty, loader.esp), { recursive: true });
    await Repository.init(join(empty, "composefs"), { algorithm: "sha512", insecure: true });
    {
      await using repository = await Repository.open(join(empty, "composefs"), { write: true });
      await pull(repository, app.reference, { tag: APP });
    }
    const install = (path: string, image: string) =>
      installDeployment(
        pathsOf(path),
        { transport: "oci", image },
        { verity: "allow-missing", kargs: ["rw"], target: reference },
      );
    const two = place("two", empty);
    system("1", layout);
    ids.set("1", (await install(two, `${layout}:os`)).id ?? "");
    system("2", layout);
    ids.set("2", (await opened(two, (sysroot) => upgradeDeployment(sysroot))).id ?? "");
    writeFileSync(join(two, "state/deploy", ids.get("2") ?? "", "etc/mine"), "local");
    system("3", layout);
    const staged = place("staged", two);
    await opened(staged, (sysroot) => upgradeDeployment(sysroot, { noFinalize: true }));

    const withGarbage = place("with-garbage", two);
    {
      await using repository = await Repository.open(join(withGarbage, "composefs"), { write: true });
      await pull(repository, other.reference, { tag: (digest) => `localhost/bootc-${digest}`, bootable: true });
    }
    const orphan = join(withGarbage, "state/deploy/orphan");
    mkdirSync(join(orphan, "etc/a/b"), { recursive: true });
    writeFileSync(join(orphan, "etc/a/b/c"), "text");
    const kernels = join(withGarbage, loader.bootloader === "grub" ? "boot" : `${loader.esp}/EFI/Linux`);
    mkdirSync(join(kernels, "bootc_composefs-orphan"));
    writeFileSync(join(kernels, "bootc_composefs-orphan/vmlinuz"), "kernel");

    const old = place("old", two);
    await makeOld(old, loader, [...ids.values()]);

    const first = ids.get("1") ?? "";
    const where = (path: string) => [
      "--sysroot",
      path,
      "--bootloader",
      loader.bootloader,
      ...(loader.esp === undefined ? [] : ["--esp", join(path, loader.esp)]),
      "--quiet",
    ];
    const unless = (reason: string) => (error: unknown) => {
      if (!(error instanceof ComposefsError) || error.reason !== reason) throw error;
    };
    const collect = (path: string) => opened(path, async (sysroot) => void (await deployGc(sysroot)));
    const booted = ["--allow-missing-verity", "--karg", "rw"];
    const jobs: DeployJob[] = [
      {
        name: "install",
        from: empty,
        args: (path) => [
          "deploy",
          "install",
          fresh.reference,
          "--target",
          `oci:${layout}:os`,
          ...booted,
          ...where(path),
        ],
        again: async (path) =>
          void (await install(path, fresh.reference.slice(4)).catch(unless("E_ALREADY_INSTALLED"))),
      },
      {
        name: "upgrade",
        from: two,
        args: (path) => ["deploy", "upgrade", ...where(path)],
        again: (path) => opened(path, async (sysroot) => void (await upgradeDeployment(sysroot))),
      },
      {
        name: "switch",
        from: two,
        args: (path) => ["deploy", "switch", "--transport", "oci", other.reference.slice(4), ...where(path)],
        again: (path) =>
          opened(path, async (sysroot) => {
            await switchDeployment(sysroot, { transport: "oci", image: other.reference.slice(4) });
          }),
      },
      {
        name: "finalize",
        from: staged,
        args: (path) => ["deploy", "finalize", ...where(path)],
        again: (path) => opened(path, async (sysroot) => void (await finalizeDeployment(sysroot))),
      },
      {
        name: "rollback",
        from: two,
        args: (path) => ["deploy", "rollback", "--to", first, ...where(path)],
        again: (path) => opened(path, async (sysroot) => void (await rollBack(sysroot, first))),
      },
      {
        name: "delete",
        from: two,
        args: (path) => ["deploy", "delete", first, ...where(path)],
        again: (path) =>
          opened(path, async (sysroot) => {
            await deleteDeployment(sysroot, first).catch(unless("E_DEPLOYMENT_NOT_FOUND"));
          }),
      },
      { name: "gc", from: withGarbage, args: (path) => ["deploy", "gc", ...where(path)], again: collect },
      { name: "migration", from: old, args: (path) => ["deploy", "gc", ...where(path)], again: collect },
    ];
    return {
      folder,
      jobs: new Map(jobs.map((job) => [job.name, job])),
      [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Content of the kernel and the initramfs of a version. */
const bootBytes = (version: string) => ({
  vmlinuz: kernelBytes(`kernel ${version}`, 9001),
  "initramfs.img": kernelBytes(`initramfs ${version}`, 5001),
});

function systemFiles(version: string): Record<string, string | Uint8Array> {
  const { vmlinuz, "initramfs.img": initramfs } = bootBytes(version);
  return {
    "usr/lib/modules/6/vmlinuz": vmlinuz,
    "usr/lib/modules/6/initramfs.img": initramfs,
    "usr/lib/os-release": `ID=example\nPRETTY_NAME="Example"\nVERSION_ID=${version}\n`,
    "etc/hostname": "example\n",
    "etc/conf/version": version,
    "var/lib/data": "data",
    "var/lib/more": "more",
  };
}

// As an old installation has it: no prefix, and an image without its EROFS image.
async function makeOld(path: string, { bootloader, esp }: Loader, ids: readonly string[]): Promise<void> {
  const boot = join(path, bootloader === "grub" ? "boot" : (esp ?? ""));
  const kernels = bootloader === "grub" ? boot : join(boot, "EFI/Linux");
  for (const id of ids) renameSync(join(kernels, `bootc_composefs-${id}`), join(kernels, id));
  const entries = join(boot, "loader/entries");
  for (const name of readdirSync(entries)) {
    const file = join(entries, name);
    writeFileSync(file, readFileSync(file, "utf8").replaceAll("bootc_composefs-", ""));
  }
  await using repository = await Repository.open(join(path, "composefs"), { write: true });
  const { manifest } = await openImage(repository, APP);
  await forgetImages(repository, manifest?.digest ?? "");
}

/** The paths of a sysroot in a place. */
export function jobPaths(place: string, { bootloader, esp }: Loader): SysrootPaths & { readonly sysroot: string } {
  return { sysroot: place, bootloader, ...(esp !== undefined && { esp: join(place, esp) }) };
}

/**
 * What must hold at every moment: whatever is in the menu boots, and there is something in it unless nothing was installed before; the
 * images of applications are whole.
 */
export async function expectBootable(place: string, loader: Loader, where: string, mayBeEmpty: boolean): Promise<void> {
  const paths = jobPaths(place, loader);
  const { active } = readMenu(await readSysroot(paths));
  if (!mayBeEmpty) expect(active.entries.length, `${where}: entries`).toBeGreaterThan(0);
  for (const entry of active.entries) expectComplete(place, loader, entry, where);
  const { findings } = await checkSysroot(paths);
  expect(
    findings.filter(({ level }) => level === "error"),
    where,
  ).toEqual([]);
  await using repository = await Repository.open(join(place, "composefs"));
  const { layers, manifest } = await openImage(repository, APP);
  expect(manifest?.digest, where).toBeDefined();
  for (const { id } of layers) expect(repository.hasObject(id), `${where}: layer of the application`).toBe(true);
}

function expectComplete(
  place: string,
  { bootloader, esp }: Loader,
  { verity, source }: MenuEntry,
  where: string,
): void {
  if (source.kind !== "bls" || source.entry.target.kind !== "linux") throw new Error("no entry with a kernel");
  const { target, initrd, version } = source.entry;
  const { vmlinuz, "initramfs.img": initramfs } = bootBytes(version);
  const file = (path: string) =>
    readFileSync(join(place, bootloader === "grub" ? `boot/${path.replace(/^\/boot\//, "")}` : `${esp}/${path}`));
  expect(file(target.linux).equals(vmlinuz), `${where}: kernel of ${version}`).toBe(true);
  expect(file(initrd[0] ?? "").equals(initramfs), `${where}: initramfs of ${version}`).toBe(true);
  const state = join(place, "state/deploy", verity);
  expect(readFileSync(join(state, "etc/conf/version"), "utf8"), `${where}: etc of ${version}`).toBe(version);
  expect(statSync(join(state, "var/lib/more")).isFile(), `${where}: var of ${version}`).toBe(true);
  expect(existsSync(join(place, "composefs/images", verity)), `${where}: image of ${version}`).toBe(true);
}

/** The repository is whole, but for what belongs to deployments, and for old images that are still to be brought up to date. */
export async function expectSoundRepository(place: string, where: string): Promise<void> {
  const path = join(place, "composefs");
  const { problems } = auditRepository(path);
  const own = problems.filter((text) => text !== "stray file bootc" && !text.endsWith("%2Fweb:1 names no image"));
  expect(own, where).toEqual([]);
  await using repository = await Repository.open(path);
  const { findings } = await checkRepository(repository, { workers: 0 });
  expect(
    findings.filter(({ severity }) => severity === "error"),
    where,
  ).toEqual([]);
}

/** Expects that a place holds what the undisturbed one does. */
export function expectContents(place: string, goal: readonly string[], where: string): void {
  const left = contents(place);
  const surplus = left.filter((line) => !goal.includes(line)).map((line) => line.slice(0, 300));
  const missing = goal.filter((line) => !left.includes(line)).map((line) => line.slice(0, 300));
  expect({ surplus, missing }, where).toEqual({ surplus: [], missing: [] });
}

/** Collects the next day, when nothing unfinished can be in use any more; afterwards there is nothing left to collect. */
export async function collectAll(place: string, loader: Loader, where: string): Promise<void> {
  for (const name of readdirSync(place, { recursive: true, encoding: "utf8" }))
    if (/(^|\/)\.composefs-[^/]*$/.test(name)) utimesSync(join(place, name), 1e9, 1e9);
  const location = locateSysroot(jobPaths(place, loader));
  {
    await using sysroot = await OpenSysroot.open(location);
    await deployGc(sysroot);
  }
  await using repository = await Repository.open(location.repository);
  const dry = await deployGcDryRun(location, repository);
  expect(() => assertCollected(dry, place), where).not.toThrow();
  expect(dry.migrated, where).toEqual([]);
}

/** Everything in a sysroot: links by their targets, files by their content, those of the repository by their names. */
export function contents(place: string): string[] {
  return readdirSync(place, { recursive: true, encoding: "utf8" })
    .flatMap((name) => {
      const path = join(place, name);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink()) return [`${name} -> ${readlinkSync(path)}`];
      if (stat.isDirectory()) return name.startsWith("composefs/") ? [] : [`${name}/`];
      return [
        name.startsWith("composefs/")
          ? name
          : `${name} ${(stat.mode & 0o7777).toString(8)} ${readFileSync(path, "hex")}`,
      ];
    })
    .toSorted();
}
