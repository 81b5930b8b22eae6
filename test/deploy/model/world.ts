// A real sysroot on which the operations of the model are carried out, and what is compared with the model: status, `check`, files that
// are not ours.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { expect } from "vitest";
import { rollBack } from "../../../src/deploy/carry-out-rollback.ts";
import { checkSysroot } from "../../../src/deploy/check/check.ts";
import { assertCollected, deployGc, deployGcDryRun } from "../../../src/deploy/collect.ts";
import { deleteDeployment } from "../../../src/deploy/delete-deployment.ts";
import { finalizeDeployment } from "../../../src/deploy/finalize.ts";
import { hostStatus } from "../../../src/deploy/host.ts";
import type { HostImage } from "../../../src/deploy/image-reference.ts";
import { installDeployment } from "../../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../../src/deploy/location.ts";
import { readMenu } from "../../../src/deploy/menu.ts";
import { OpenSysroot } from "../../../src/deploy/open-sysroot.ts";
import { switchDeployment } from "../../../src/deploy/switch.ts";
import { readSysroot } from "../../../src/deploy/sysroot.ts";
import type { UpdateDecision } from "../../../src/deploy/update.ts";
import { upgradeDeployment } from "../../../src/deploy/upgrade.ts";
import { ComposefsError } from "../../../src/error.ts";
import { pull } from "../../../src/oci/pull.ts";
import { openImage } from "../../../src/oci/stored-image.ts";
import { listTags, untagImage } from "../../../src/oci/tags.ts";
import { Repository } from "../../../src/repository/repository.ts";
import type { Model, Outcome } from "./model.ts";

/** Files of other systems, administrators and users, by a name of their own; none may ever change. */
export const FOREIGN = [
  "sysroot/boot/loader/entries/memtest.conf",
  "sysroot/boot/vmlinuz-other",
  "sysroot/boot/other/initrd",
  "sysroot/state/deploy/note.txt",
  "sysroot/state/os/default/var/log/data",
  "sysroot/ostree/repo/config",
  "esp/EFI/BOOT/BOOTX64.EFI",
  "esp/EFI/Linux/other/vmlinuz",
  "esp/loader/entries/other.conf",
] as const;

/** The sysroot, and the layouts that references lead to. */
export class World {
  readonly root: string;
  readonly #bootloader: "grub" | "systemd";
  readonly #foreign = new Map<string, string>();

  constructor(root: string, bootloader: "grub" | "systemd") {
    this.root = root;
    this.#bootloader = bootloader;
    for (const directory of ["sysroot/boot", "esp", "run", "references"])
      mkdirSync(join(root, directory), { recursive: true });
  }

  /** The paths, as they are given on a machine that runs a deployment, or for one that does not. */
  paths(booted: string | undefined): SysrootPaths {
    const sysroot = join(this.root, "sysroot");
    const common = { sysroot, bootloader: this.#bootloader, esp: join(this.root, "esp") };
    if (booted === undefined) return common;
    return {
      ...common,
      bootedId: booted,
      runDirectory: join(this.root, "run"),
      etc: join(sysroot, "state/deploy", booted, "etc"),
    };
  }

  reference(name: string): HostImage {
    return { transport: "oci", image: join(this.root, "references", name) };
  }

  publish(name: string, layout: string): void {
    const path = this.reference(name).image;
    rmSync(path, { force: true });
    symlinkSync(layout, path);
  }

  install(name: string): Promise<Outcome> {
    return outcomeOf(async () => {
      const options = { verity: "allow-missing", allowExisting: true, kargs: ["rw"] } as const;
      await installDeployment(this.paths(undefined), this.reference(name), options);
      return "installed";
    });
  }

  upgrade(booted: string | undefined, options: { downloadOnly?: boolean; fromDownloaded?: boolean }): Promise<Outcome> {
    return this.#change(booted, async (open) => decisionText((await upgradeDeployment(open, options)).decision));
  }

  switchTo(booted: string | undefined, name: string, inPlace: boolean): Promise<Outcome> {
    return this.#change(booted, async (open) =>
      decisionText((await switchDeployment(open, this.reference(name), { inPlace })).decision),
    );
  }

  rollback(booted: string | undefined, to: string): Promise<Outcome> {
    return this.#change(booted, async (open) => (await rollBack(open, booted === undefined ? to : undefined)).nextBoot);
  }

  delete(booted: string | undefined, id: string): Promise<Outcome> {
    return this.#change(booted, async (open) => {
      await deleteDeployment(open, id);
      return "deleted";
    });
  }

  async gc(booted: string | undefined): Promise<Outcome> {
    const outcome = await this.#change(booted, async (open) => {
      await deployGc(open);
      return "collected";
    });
    if (outcome !== "collected") return outcome;
    const location = locateSysroot(this.paths(booted));
    await using repository = await Repository.open(location.repository, {});
    assertCollected(await deployGcDryRun(location, repository), location.sysroot);
    return outcome;
  }

  finalize(booted: string): Promise<Outcome> {
    return this.#change(booted, async (open) => (await finalizeDeployment(open)).result);
  }

  /** What goes with the machine. */
  clearRun(): void {
    rmSync(join(this.root, "run"), { recursive: true, force: true });
    mkdirSync(join(this.root, "run"));
  }

  async pullApp(layout: string, tag: string): Promise<void> {
    await using repository = await Repository.open(this.repositoryPath, { write: true });
    await pull(repository, `oci:${layout}`, { tag });
  }

  async untagApp(tag: string): Promise<void> {
    await using repository = await Repository.open(this.repositoryPath, { write: true });
    await untagImage(repository, tag);
  }

  get repositoryPath(): string {
    return join(this.root, "sysroot/composefs");
  }

  edit(id: string, name: string, text: string): void {
    writeFileSync(join(this.root, "sysroot/state/deploy", id, "etc", name), text);
  }

  foreign(index: number, text: string): void {
    const path = FOREIGN[index % FOREIGN.length] as string;
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
    this.#foreign.set(path, text);
  }

  /** The menu on the disk, whatever else is there; each deployment once. */
  async menu(): Promise<string[]> {
    const state = await readSysroot(this.paths(undefined));
    return [...new Set(readMenu(state).active.entries.map(({ verity }) => verity))];
  }

  /** Everything that must hold at any moment: deployments of the menu are complete, what is not ours is as it was. */
  async checkInvariants(booted: string | undefined): Promise<void> {
    const { findings } = await checkSysroot(this.paths(booted));
    expect(findings.filter(({ level }) => level === "error")).toEqual([]);
    for (const [path, text] of this.#foreign) expect(readFileSync(join(this.root, path), "utf8"), path).toBe(text);
  }

  /** Compares all that can be seen with the model. */
  async compare(model: Model): Promise<void> {
    const { host, warnings } = hostStatus(await readSysroot(this.paths(model.booted)));
    const { booted, staged, rollback, otherDeployments = [], rollbackQueued } = host.status;
    const shown = (entry: typeof booted) =>
      entry && [entry.composefs.verity, entry.image?.image.image, entry.image?.imageDigest];
    const wanted = (id: string | undefined) => {
      const one = id === undefined ? undefined : model.deployments.get(id);
      return one ? [id, this.reference(one.reference).image, one.manifest] : null;
    };
    const isHost = model.booted !== undefined;
    const rest = isHost ? model.rest : model.menu;
    expect({
      booted: shown(booted),
      staged: shown(staged),
      locked: staged?.downloadOnly ?? false,
      rest: [...(rollback ? [rollback] : []), ...otherDeployments].map(shown),
      rollbackQueued,
      menu: await this.menu(),
    }).toEqual({
      booted: wanted(model.booted),
      staged: wanted(model.staged?.id),
      locked: model.staged?.locked ?? false,
      rest: rest.map(wanted),
      rollbackQueued: model.isQueued,
      menu: model.menu,
    });
    expect(warnings.filter(({ code }) => code !== "W_STALE_STAGED_ENTRY")).toEqual([]);
    for (const id of model.menu) this.checkEtc(id, model.deployments.get(id)?.etc ?? new Map());
    await this.checkApps(model);
  }

  checkEtc(id: string, files: ReadonlyMap<string, string>): void {
    for (const [name, text] of files)
      expect(readFileSync(join(this.root, "sysroot/state/deploy", id, "etc", name), "utf8"), name).toBe(text);
  }

  /** What was pulled for something else is there, whole, and nothing else of that kind. */
  async checkApps(model: Model): Promise<void> {
    if (!existsSync(this.repositoryPath)) return;
    await using repository = await Repository.open(this.repositoryPath, {});
    const tags = listTags(repository).filter(({ name }) => !name.startsWith("localhost/bootc-sha256:"));
    expect(new Map(tags.map(({ name, manifestDigest }) => [name, manifestDigest]))).toEqual(model.apps);
    for (const tag of model.apps.keys()) {
      const { layers, imageRefs } = await openImage(repository, tag);
      for (const { id } of layers)
        for (const object of (await repository.openStream(id)).objectRefs)
          expect(repository.hasObject(object), tag).toBe(true);
      for (const id of imageRefs.values()) expect(repository.hasObject(id), tag).toBe(true);
    }
  }

  /** Whether there is something that commands can open. */
  get isInstalled(): boolean {
    return existsSync(join(this.repositoryPath, "meta.json"));
  }

  /** What origins in the menu say. */
  async deployments(booted: string | undefined): Promise<Map<string, { reference: string; manifest: string }>> {
    const { status } = hostStatus(await readSysroot(this.paths(booted))).host;
    const all = [status.booted, status.staged, status.rollback, ...(status.otherDeployments ?? [])];
    return new Map(
      all.flatMap((entry) =>
        entry?.image
          ? [
              [
                entry.composefs.verity,
                { reference: basename(entry.image.image.image), manifest: entry.image.imageDigest },
              ],
            ]
          : [],
      ),
    );
  }

  /** Names of the state directories. */
  states(): string[] {
    const path = join(this.root, "sysroot/state/deploy");
    return existsSync(path)
      ? readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
      : [];
  }

  #change(booted: string | undefined, work: (open: OpenSysroot) => Promise<Outcome>): Promise<Outcome> {
    return outcomeOf(async () => {
      await using open = await OpenSysroot.open(locateSysroot(this.paths(booted)));
      return await work(open);
    });
  }
}

function decisionText(decision: UpdateDecision): Outcome {
  if (decision.action === "none") return `none ${decision.reason}`;
  return decision.action === "refresh-origin" ? `refresh-origin ${decision.slot}` : decision.action;
}

async function outcomeOf(work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ComposefsError && error.reason !== undefined) return error.reason;
    throw error;
  }
}
