// Rollback and deletion carried out on real sysroots: every golden of both, and menus that have more in them than those.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { deleteDeployment } from "../../src/deploy/delete-deployment.ts";
import { readDeployments } from "../../src/deploy/deployments.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { readMenu } from "../../src/deploy/menu.ts";
import { stageMenu } from "../../src/deploy/menu-files.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { rollBack } from "../../src/deploy/carry-out-rollback.ts";
import { planRollback } from "../../src/deploy/rollback.ts";
import { Repository } from "../../src/repository/repository.ts";
import { deployCases } from "./deploy-goldens.ts";
import { makeSysroot, write } from "./golden-sysroot.ts";
import type { GoldenState } from "./golden-state.ts";

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-menu-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

type Paths = SysrootPaths & { readonly sysroot: string };

async function sysrootOf(golden: GoldenState): Promise<Paths> {
  const paths = makeSysroot(join(work, `sysroot-${count++}`), golden);
  await Repository.init(join(paths.sysroot, "composefs"), { algorithm: "sha512", insecure: true });
  return paths;
}

async function opened<T>(paths: Paths, action: (sysroot: OpenSysroot) => Promise<T>): Promise<T> {
  await using sysroot = await OpenSysroot.open(locateSysroot(paths));
  return await action(sysroot);
}

const order = (paths: Paths) =>
  opened(paths, async (sysroot) => readMenu(await sysroot.readState()).active.entries.map(({ verity }) => verity));

const loaderFiles = ({ sysroot }: Paths) =>
  readdirSync(join(sysroot, "boot/loader/entries"))
    .sort()
    .map((name) => [name, readFileSync(join(sysroot, "boot/loader/entries", name), "utf8")]);

interface Input {
  readonly state: GoldenState;
  readonly id: string;
  readonly to?: string;
}

interface Expected {
  readonly error?: string;
  readonly order?: string[];
  readonly reverting?: boolean;
  readonly files?: [string, string][];
}

const decisions = deployCases<Input, Expected>("decisions");

function inputOf(wanted: string): Input {
  const found = decisions.find(({ name }) => name === wanted);
  if (!found) throw new Error(`no case ${wanted}`);
  return found.input;
}

describe("rollback", () => {
  const cases = [...decisions, ...deployCases<Input, Expected>("entryset")].filter(({ op }) => op === "rollback");

  test.each(cases)("golden: $name", async ({ input: { state, to }, expect: expected }) => {
    const paths = await sysrootOf(state);
    if (expected.error !== undefined) {
      const before = readdirSync(join(paths.sysroot, "boot"), { recursive: true });
      await expect(opened(paths, (sysroot) => rollBack(sysroot, to))).rejects.toMatchObject({ reason: expected.error });
      expect(readdirSync(join(paths.sysroot, "boot"), { recursive: true })).toEqual(before);
      return;
    }
    const before = await order(paths);
    const plan = await opened(paths, (sysroot) => rollBack(sysroot, to));
    if (expected.order) expect(await order(paths)).toEqual(expected.order);
    if (expected.files) {
      const found = new Map(loaderFiles(paths) as [string, string][]);
      expect(expected.files.map(([name]) => [name, found.get(name)])).toEqual(expected.files);
    }
    expect((await order(paths)).sort()).toEqual([...new Set(before)].sort());
    const { stagedDeployment, boot } = await opened(paths, (sysroot) => sysroot.readState());
    expect([stagedDeployment, boot.entriesStaged, boot.userCfgStaged]).toEqual([undefined, undefined, undefined]);

    // Once more takes it back.
    if (state.bootedId === null) return;
    const again = await opened(paths, (sysroot) => rollBack(sysroot));
    expect(again.reverting).toBe(!plan.reverting);
    expect((await order(paths))[0] === state.bootedId).toBe(again.reverting);
  });

  test("that was cut before its activation is finished by the next command, offline", async () => {
    const { state, to } = inputOf("rollback-offline-to-the-second");
    const paths = await sysrootOf(state);
    await opened(paths, async (sysroot) => {
      const { menu } = planRollback(await sysroot.readState(), to);
      await stageMenu(sysroot.boot, menu);
    });
    expect(readdirSync(join(paths.sysroot, "boot/loader")).sort()).toEqual(["entries", "entries.staged"]);
    expect((await order(paths))[0]).toBe(to);
    expect(readdirSync(join(paths.sysroot, "boot/loader"))).toEqual(["entries"]);
  });

  test("of a system that runs takes no id", async () => {
    const { state } = inputOf("rollback-two-entries");
    const paths = await sysrootOf(state);
    await expect(opened(paths, (sysroot) => rollBack(sysroot, "a"))).rejects.toMatchObject({ code: "usage" });
  });
});

describe("delete", () => {
  test.each(decisions.filter(({ op }) => op === "delete"))("golden: $name", async ({ input, expect: expected }) => {
    const { state, id } = input;
    const paths = await sysrootOf(state);
    const before = await order(paths);
    const remove = () => opened(paths, (sysroot) => deleteDeployment(sysroot, id));
    if (expected.error !== undefined) {
      await expect(remove()).rejects.toMatchObject({ reason: expected.error });
      expect(await order(paths)).toEqual(before);
      return;
    }
    const { plan } = await remove();
    expect((await order(paths)).sort()).toEqual([...new Set(before)].filter((one) => one !== id).sort());
    expect(readdirSync(join(paths.sysroot, "state/deploy"))).not.toContain(id);
    if (state.bootedId !== null && plan.unqueueRollback) expect((await order(paths))[0]).toBe(state.bootedId);
    await expect(remove()).rejects.toMatchObject({ reason: "E_DEPLOYMENT_NOT_FOUND" });
  });

  test("the last one offline goes by force, and takes everything along", async () => {
    const { state, id } = inputOf("delete-last-offline-refused");
    const paths = await sysrootOf(state);
    await opened(paths, (sysroot) => deleteDeployment(sysroot, id, { force: true }));
    expect(readdirSync(join(paths.sysroot, "state/deploy"))).toEqual([]);
    expect(loaderFiles(paths)).toEqual([]);
  });

  test("from user.cfg only its own entries go; what others wrote stays to the byte", async () => {
    const { state, id } = inputOf("delete-queued-in-user-cfg");
    const foreign =
      'submenu "More" {\n  menuentry "Memory test" {\n    insmod x\n    set y=1\n    chainloader /memtest.efi\n  }\n}\n# end\n';
    const paths = await sysrootOf({ ...state, boot: { ...state.boot, userCfg: state.boot.userCfg + foreign } });
    // Offline nothing is queued, and the order is not changed.
    const offline = { ...paths, bootedId: null };
    await opened(offline, (sysroot) => deleteDeployment(sysroot, id));
    const text = readFileSync(join(paths.sysroot, "boot/grub2/user.cfg"), "utf8");
    expect(text).toContain(foreign);
    expect(text).not.toContain(id);
    expect(text).toContain(state.bootedId ?? "");
  });
});

describe("menus that stopped other tools", () => {
  const [one, two, three] = ["1", "2", "3"].map((digit) => digit.repeat(128)) as [string, string, string];
  const uki = (id: string, version: string, key: string) =>
    `title T\nversion ${version}\nefi /EFI/Linux/bootc/bootc_composefs-${id}.efi\nsort-key ${key}\n`;
  const state = (ids: readonly string[]) =>
    Object.fromEntries(ids.map((id) => [id, { origin: `[boot]\nboot_type = uki\n` }]));
  const host = (entries: [string, string][], ids: string[]): GoldenState => ({
    bootloader: "systemd",
    bootedId: one,
    missingVerityAllowed: true,
    boot: { entries },
    stagedDeployment: null,
    state: state(ids),
    repo: { manifests: {} },
  });

  test("with UKIs under systemd-boot a rollback is not taken for the contrary", async () => {
    const paths = await sysrootOf(
      host(
        [
          ["bootc_os-2-1.conf", uki(one, "2", "bootc-os-0")],
          ["bootc_os-1-0.conf", uki(two, "1", "bootc-os-1")],
        ],
        [one, two],
      ),
    );
    const queued = () => opened(paths, async (sysroot) => readDeployments(await sysroot.readState()).rollbackQueued);
    expect(await queued()).toBe(false);
    expect((await opened(paths, (sysroot) => rollBack(sysroot))).nextBoot).toBe("rollback");
    expect([await order(paths), await queued()]).toEqual([[two, one], true]);
    expect((await opened(paths, (sysroot) => rollBack(sysroot))).nextBoot).toBe("current");
    expect([await order(paths), await queued()]).toEqual([[one, two], false]);
  });

  test("entries under several names, as after an image with another name, are all kept and become one set", async () => {
    const paths = await sysrootOf(
      host(
        [
          ["bootc_fedora-3-1.conf", uki(one, "3", "bootc-fedora-0")],
          ["bootc_centos-2-1.conf", uki(two, "2", "bootc-centos-0")],
          ["bootc_centos-1-0.conf", uki(three, "1", "bootc-centos-1")],
        ],
        [one, two, three],
      ),
    );
    const before = await order(paths);
    const plan = await opened(paths, (sysroot) => rollBack(sysroot));
    expect(await order(paths)).toEqual(plan.order);
    expect([...plan.order].sort()).toEqual([...before].sort());
    expect(loaderFiles(paths).length).toBe(3);
  });

  test("entries of other systems are no obstacle, and stay", async () => {
    const foreign = "title Memory test\nversion 7\nefi /memtest.efi\n";
    const paths = await sysrootOf(
      host(
        [
          ["bootc_os-2-1.conf", uki(one, "2", "bootc-os-0")],
          ["bootc_os-1-0.conf", uki(two, "1", "bootc-os-1")],
          ["memtest.conf", foreign],
          ["broken.conf", "title nothing\n"],
        ],
        [one, two],
      ),
    );
    write(join(paths.sysroot, "boot/loader/entries/notes.txt"), "keep");
    await opened(paths, (sysroot) => rollBack(sysroot));
    await opened(paths, (sysroot) => rollBack(sysroot));
    await opened(paths, (sysroot) => deleteDeployment(sysroot, two));
    const files = new Map(loaderFiles(paths) as [string, string][]);
    expect([...files.keys()]).toEqual(["bootc_os-2-1.conf", "broken.conf", "memtest.conf", "notes.txt"]);
    expect(files.get("memtest.conf")).toBe(foreign);
  });
});
