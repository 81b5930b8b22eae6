// What makes an image bootable: every recorded case (test/goldens/boot/write-entry.json), carried out in a real directory, and what
// the planner refuses.

import { createHash } from "node:crypto";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  mkdirSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { carryOut, type OpenFile } from "../../../src/boot/change/carry-out.ts";
import { findComposefsArgument } from "../../../src/boot/kargs/composefs-argument.ts";
import { discoverBootResources } from "../../../src/boot/discover.ts";
import { bytesSource, PeFile } from "../../../src/boot/pe/read.ts";
import { chooseBootResource, planPrepareBoot, type PrepareOptions } from "../../../src/boot/install/prepare.ts";
import type { BootFile, BootResource } from "../../../src/boot/resource.ts";
import type { BootStep } from "../../../src/boot/change/steps.ts";
import { ukiCommandLine } from "../../../src/boot/uki/uki.ts";
import { DirectoryVolume } from "../../../src/boot/change/volume.ts";
import { type BootTreeEntry, bootTree } from "../../fixtures/boot-tree.ts";
import { type Loss, MemoryVolume, PowerLoss } from "../../fixtures/memory-volume.ts";
import { bootCases } from "../boot-goldens.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-prepare-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function body({ leaf: { content } }: BootFile): Uint8Array {
  if (content.kind !== "inline") throw new Error("every file here is inline");
  return content.bytes;
}

const open: OpenFile = (file) => ({
  size: body(file).length,
  chunks: () => [body(file)],
  [Symbol.dispose]: () => undefined,
});

const resources = (tree: BootTreeEntry[]) => discoverBootResources(bootTree(tree), body);

function plan(resource: BootResource, options: PrepareOptions): BootStep[] {
  return planPrepareBoot(resource, options, () => {
    if (resource.kind !== "type2") throw new Error("only UKIs are checked");
    const name = "u.efi";
    const argument = (["sha256", "sha512"] as const)
      .map((a) => findComposefsArgument(options.argument, a))
      .find(Boolean)!;
    const commandLine = ukiCommandLine(PeFile.read(bytesSource(body(resource.file)), name));
    return { commandLine, algorithm: argument.algorithm, digest: argument.digest };
  });
}

function files(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((name) => statSync(join(directory, name)).isFile())
      .map((name) => [name, readFileSync(join(directory, name), "latin1")]),
  );
}

interface Case {
  id: string;
  tree: BootTreeEntry[];
  options: { karg: string; extra?: string[]; entry_id?: string; boot_subdir?: string };
  expect: { files: Record<string, string | { same_as: string }> } | { error: string };
}

describe("recorded cases", () => {
  test.each(bootCases<Case>("write-entry"))("$id", async (c) => {
    const found = await resources(c.tree);
    const { karg, extra, entry_id, boot_subdir } = c.options;
    const options = { argument: karg, extra: extra ?? [], entryId: entry_id, subdirectory: boot_subdir };
    if ("error" in c.expect) {
      expect(() => plan(chooseBootResource(found), options)).toThrow(
        expect.objectContaining({ reason: c.expect.error }),
      );
      return;
    }
    const steps = plan(chooseBootResource(found), options);
    await carryOut({ boot: new DirectoryVolume(root) }, steps, { open });
    const expected = Object.entries(c.expect.files).map(([name, value]) => {
      if (typeof value === "string") return [name, value];
      const source = c.tree.find(({ p }) => p === value.same_as);
      return [
        name,
        Buffer.from(source?.hex ?? source?.c ?? "", source?.hex === undefined ? "utf8" : "hex").toString("latin1"),
      ];
    });
    expect(files(root)).toEqual(Object.fromEntries(expected));
  });
});

const KERNEL: BootTreeEntry[] = [
  { p: "/usr/lib/modules/6.1/vmlinuz", t: "f", c: "KERNEL" },
  { p: "/usr/lib/modules/6.1/initramfs.img", t: "f", c: "INITRD" },
];
const argument = `composefs=${"a1".repeat(32)}`;

async function planOf(tree: BootTreeEntry[], options: Partial<PrepareOptions> = {}): Promise<BootStep[]> {
  return plan(chooseBootResource(await resources(tree)), { argument, ...options });
}

describe("planning", () => {
  test("addons are passed over when the resource is chosen", async () => {
    const addons: BootTreeEntry[] = [
      { p: "/boot/EFI/Linux/a.addon.efi", t: "f", c: "x" },
      { p: "/boot/loader/addons/b.addon.efi", t: "f", c: "x" },
    ];
    expect(chooseBootResource(await resources([...addons, ...KERNEL])).kind).toBe("vmlinuz");
    const error = expect.objectContaining({ code: "not-found", reason: "no-entries" });
    const only = await resources(addons);
    expect(() => chooseBootResource(only)).toThrow(error);
    expect(() => chooseBootResource([])).toThrow(error);
  });

  test("title and version can be given", async () => {
    const steps = await planOf(KERNEL, { title: "Example 1", version: "1", extra: ["rw", "a=1", "a=2"] });
    expect(steps.at(-1)).toMatchObject({
      text: `# File created by composefs\ntitle Example 1\nversion 1\nlinux /6.1/vmlinuz\ninitrd /6.1/initramfs.img\noptions ${argument} rw a=2\n`,
    });
  });

  test.each<[string, Partial<PrepareOptions>]>([
    ["a slash in the id", { entryId: "a/b" }],
    ["the parent as id", { entryId: ".." }],
    ["an empty id", { entryId: "" }],
    ["a line break in the id", { entryId: "a\nb" }],
    ["the parent in the subdirectory", { subdirectory: "a/../b" }],
    ["a line break in an argument", { extra: ["a\nlinux /x"] }],
    ["an empty argument", { extra: [" "] }],
    ["another image in an argument", { extra: ["composefs=x"] }],
    ["another image in an argument, in quotes", { extra: ['"composefs.digest=x"'] }],
    ["a line break in the title", { title: "a\nb" }],
  ])("%s is a usage error", async (_, options) => {
    await expect(planOf(KERNEL, options)).rejects.toMatchObject({ code: "usage" });
  });

  test("a kernel version that is no name for a file is refused", async () => {
    const tree = KERNEL.map((entry) => ({ ...entry, p: entry.p.replace("6.1", "6.1\nlinux") }));
    await expect(planOf(tree)).rejects.toMatchObject({ code: "invalid", reason: "invalid-name" });
    expect((await planOf(tree, { entryId: "x" })).length).toBe(3);
  });

  const entry = (text: string, named: string[]): BootTreeEntry[] => [
    { p: "/boot/loader/entries/a.conf", t: "f", c: text },
    ...named.map((p): BootTreeEntry => ({ p, t: "f", c: p })),
  ];

  test("two files that would get one name are refused, case not counted", async () => {
    const collision = expect.objectContaining({ message: expect.stringContaining("would both become e/k") as string });
    const tree = entry("linux /boot/k\ninitrd /boot/b/k\n", ["/boot/k", "/boot/b/k"]);
    await expect(planOf(tree, { entryId: "e" })).rejects.toEqual(collision);
    expect((await planOf(tree)).length).toBe(3);
    await expect(planOf(entry("linux /k\ninitrd /K\n", ["/k", "/K"]))).rejects.toMatchObject({ code: "invalid" });
    await expect(planOf(entry("linux /loader/entries/a.conf\n", ["/loader/entries/a.conf"]))).rejects.toMatchObject({
      code: "invalid",
    });
    // The same file twice is one.
    expect((await planOf(entry("linux /boot/k\ninitrd boot//k\n", ["/boot/k"]), { entryId: "e" })).length).toBe(3);
  });

  test("an argument that a quote would swallow is refused", async () => {
    const tree = entry('linux /k\noptions a="b c\n', ["/k"]);
    await expect(planOf(tree)).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining("not closed") as string,
    });
    await expect(planOf(KERNEL, { extra: ['a="b'] })).resolves.toHaveLength(3);
    const after = entry("linux /k\noptions a\noptions b\n", ["/k"]);
    expect((await planOf(after, { extra: ['"b c"'] })).at(-1)).toMatchObject({
      text: `linux /k\noptions a ${argument} "b c"\noptions b\n`,
    });
  });

  test("a file without a directory gets that of the entry; white space of the lines stays", async () => {
    const steps = await planOf(entry("linux \t k\noptions  a\n", ["/k"]), { entryId: "e", subdirectory: "/s/" });
    expect(steps).toMatchObject([{ path: "s/e/k" }, { path: "s/loader/entries/e.conf" }]);
    expect(steps.at(-1)).toMatchObject({ text: `linux \t /s/e/k\noptions  a ${argument}\n` });
  });
});

test("a loss of power at any change: every entry names whole files, and the older one stays as it was", async () => {
  const old = {
    "old/vmlinuz": "OLD KERNEL",
    "old/initramfs.img": "OLD INITRD",
    "loader/entries/old.conf": "version 1\nlinux /old/vmlinuz\ninitrd /old/initramfs.img\n",
  };
  const steps = await planOf(KERNEL, { entryId: "new" });
  const whole = new MemoryVolume(old, { exchange: false });
  await carryOut({ boot: whole }, steps, { open });
  const bodies = { ...old, "new/vmlinuz": "KERNEL", "new/initramfs.img": "INITRD" } as Record<string, string>;
  let entries = 0;
  for (const loss of ["lose", "keep"] satisfies Loss[])
    for (let cut = 0; cut < whole.changes; cut++) {
      const volume = new MemoryVolume(old, { exchange: false });
      volume.cutAt(cut);
      await expect(carryOut({ boot: volume }, steps, { open })).rejects.toThrow(PowerLoss);
      const rebooted = volume.reboot(loss);
      const there = rebooted.files();
      const where = `${loss}, before change ${cut}: ${volume.log.at(-1)}`;
      expect(there, where).toMatchObject(old);
      for (const [path, text] of Object.entries(there)) {
        if (!path.endsWith(".conf")) continue;
        entries++;
        for (const [, named = ""] of text.matchAll(/^(?:linux|initrd) \/(.*)$/gm))
          expect(there[named], where).toBe(bodies[named]);
      }
      await carryOut({ boot: rebooted }, steps, { open });
      expect(rebooted.files(), where).toMatchObject(whole.files());
    }
  expect(entries).toBeGreaterThan(2 * whole.changes);
});

describe("carrying out", () => {
  test("hashes what it copies, keeps what is there, replaces what differs", async () => {
    const volume = { boot: new DirectoryVolume(root) };
    const steps = await planOf(KERNEL);
    const first = await carryOut(volume, steps, { open });
    expect(first.map(({ result, size }) => [result, size])).toEqual([
      ["written", 6],
      ["written", 6],
      ["written", 184],
    ]);
    expect(first[0]?.sha256).toBe(createHash("sha256").update("KERNEL").digest("hex"));
    const { ino } = statSync(join(root, "6.1/vmlinuz"));
    writeFileSync(join(root, "6.1/initramfs.img"), "broken");
    const again = await carryOut(volume, steps, { open });
    expect(again.map(({ result }) => result)).toEqual(["kept", "replaced", "replaced"]);
    expect(again.map(({ sha256 }) => sha256)).toEqual(first.map(({ sha256 }) => sha256));
    expect(statSync(join(root, "6.1/vmlinuz")).ino).toBe(ino);
    expect(files(root)["6.1/initramfs.img"]).toBe("INITRD");
  });

  test("leaves nothing of a copy that fails, and what was there before", async () => {
    mkdirSync(join(root, "6.1"));
    writeFileSync(join(root, "6.1/vmlinuz"), "old", { mode: 0o600 });
    const failing: OpenFile = (file) => ({
      ...open(file),
      *chunks() {
        yield Buffer.from("KER");
        throw new Error("damaged");
      },
    });
    await expect(
      carryOut({ boot: new DirectoryVolume(root) }, await planOf(KERNEL), { open: failing }),
    ).rejects.toThrow("damaged");
    expect(files(root)).toEqual({ "6.1/vmlinuz": "old" });
    await carryOut({ boot: new DirectoryVolume(root) }, await planOf(KERNEL), { open });
    expect(statSync(join(root, "6.1/vmlinuz")).mode & 0o777).toBe(0o600);
  });

  test("removes what a killed command left an hour ago, and nothing else", async () => {
    mkdirSync(join(root, "6.1"));
    const old = new Date(Date.now() - 7_200_000);
    for (const name of [".composefs-0123456789abcdef", ".composefs-other", ".composefs-00000000000000ff"]) {
      writeFileSync(join(root, "6.1", name), "");
      if (!name.endsWith("ff")) utimesSync(join(root, "6.1", name), old, old);
    }
    await carryOut({ boot: new DirectoryVolume(root) }, await planOf(KERNEL), { open });
    expect(readdirSync(join(root, "6.1")).toSorted()).toEqual([
      ".composefs-00000000000000ff",
      ".composefs-other",
      "initramfs.img",
      "vmlinuz",
    ]);
  });

  test("stops at a signal", async () => {
    const signal = AbortSignal.abort();
    await expect(
      carryOut({ boot: new DirectoryVolume(root) }, await planOf(KERNEL), { open, signal }),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(readdirSync(root)).toEqual([]);
  });

  test("says which path is in the way", async () => {
    writeFileSync(join(root, "6.1"), "a file");
    await expect(carryOut({ boot: new DirectoryVolume(root) }, await planOf(KERNEL), { open })).rejects.toMatchObject({
      message: expect.stringContaining(join(root, "6.1")) as string,
    });
  });
});
