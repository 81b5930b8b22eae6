// What an image can be booted with: every recorded case (test/goldens/boot/discover.json), and what the errors say.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { displayBytes } from "../../src/bytes/byte-string.ts";
import { discoverBootResources } from "../../src/boot/discover.ts";
import type { BootResource } from "../../src/boot/resource.ts";
import { Directory } from "../../src/tree/node.ts";
import { type BootTreeEntry, bootTree, directoryAt } from "../fixtures/boot-tree.ts";
import { goldensDir } from "../goldens-dir.ts";

interface Case {
  id: string;
  tree: BootTreeEntry[];
  expect: object[] | { error: string };
}

const { cases } = JSON.parse(readFileSync(join(goldensDir("boot"), "discover.json"), "utf8")) as { cases: Case[] };

const noBodies = () => {
  throw new Error("every file here is inline");
};

const discover = (tree: BootTreeEntry[]) => discoverBootResources(bootTree(tree), noBodies);

function recordedForm(resource: BootResource): object {
  switch (resource.kind) {
    case "type1":
      return { kind: "type1", filename: resource.filename, files: [...resource.files.keys()].toSorted() };
    case "type2": {
      const { kernel, relative, type } = resource;
      return { kind: "type2", kver: kernel ?? null, path: displayBytes(relative), pe: type };
    }
    default:
      return { kind: "vmlinuz", kver: resource.kernel, initramfs: resource.initramfs !== undefined };
  }
}

describe("recorded trees", () => {
  it("are there", () => expect(cases.length).toBeGreaterThan(20));

  it.each(cases)("$id", async ({ tree, expect: expected }) => {
    if ("error" in expected) {
      await expect(discover(tree)).rejects.toMatchObject({ code: "invalid", reason: expected.error });
    } else {
      expect((await discover(tree)).map(recordedForm)).toEqual(expected);
    }
  });
});

describe("errors", () => {
  it("name the entry file, the line and the file that is not there", async () => {
    const entry: BootTreeEntry = {
      p: "/boot/loader/entries/a.conf",
      t: "f",
      c: "title A\ninitrd /boot/i\nlinux /boot/k\n",
    };
    await expect(discover([entry, { p: "/boot/i", t: "f" }])).rejects.toMatchObject({
      path: "/boot/loader/entries/a.conf",
      line: 3,
      message: expect.stringMatching(/a\.conf, line 3: linux "\/boot\/k": \/boot\/k does not exist/) as string,
    });
  });

  it("name the file that is not regular", async () => {
    await expect(discover([{ p: "/boot/EFI/Linux/d/x.efi", t: "l", to: "y" }])).rejects.toMatchObject({
      path: "/boot/EFI/Linux/d/x.efi",
    });
  });

  it.each(["linux \n", "linux /\n", "linux ..\n", "linux /boot/..\n"])("refuse %j", async (c) => {
    await expect(discover([{ p: "/boot/loader/entries/a.conf", t: "f", c }])).rejects.toMatchObject({
      reason: "invalid-name",
      line: 1,
    });
  });

  it("refuse an entry that is no entry by its size, without reading it", async () => {
    const root = bootTree([{ p: "/boot/loader/entries/a.conf", t: "f" }]);
    const { entries } = directoryAt(root, "/boot/loader/entries");
    const leaf = entries.get("a.conf");
    if (leaf === undefined || leaf instanceof Directory) throw new Error("no entry");
    Object.assign(leaf, { content: { kind: "external", size: 2 ** 40, digest: "00".repeat(32) } });
    await expect(discoverBootResources(root, noBodies)).rejects.toMatchObject({ code: "limit" });
  });

  it("refuse a kernel version that is not text", async () => {
    const root = bootTree([{ p: "/usr/lib/modules/v/vmlinuz", t: "f" }]);
    const { entries } = directoryAt(root, "/usr/lib/modules");
    entries.set("\xff", entries.get("v") as Directory);
    entries.delete("v");
    await expect(discoverBootResources(root, noBodies)).rejects.toMatchObject({ reason: "not-utf8" });
  });
});

describe("values of entries", () => {
  const names = async (c: string) => {
    const tree: BootTreeEntry[] = [
      { p: "/boot/loader/entries/a.conf", t: "f", c },
      { p: "/boot/k", t: "f" },
      { p: "/boot/i", t: "f" },
    ];
    const [entry] = await discover(tree);
    return entry?.kind === "type1" ? [...entry.files.keys()] : [];
  };

  it("come after the key and white space, at the beginning of a line", async () => {
    expect(await names("linux\t /boot/k\nlinuxx /no\n linux /no\nlinux\n#linux /no\n")).toEqual(["/boot/k"]);
  });

  it("are paths from the root, with or without a slash, and may repeat", async () => {
    expect(await names("initrd boot//i\nlinux /boot/./k\ninitrd /boot/i\ninitrd /boot/i")).toEqual([
      "/boot/./k",
      "boot//i",
      "/boot/i",
    ]);
  });
});

it("finds UKIs in directories as deep as any image has them", async () => {
  const root = bootTree([{ p: "/boot/EFI/Linux", t: "d" }]);
  let directory = directoryAt(root, "/boot/EFI/Linux");
  for (let depth = 0; depth < 20_000; depth++) {
    const below = new Directory(directory.stat);
    directory.entries.set("d", below);
    directory = below;
  }
  directory.entries.set("x.efi", bootTree([{ p: "/f", t: "f" }]).entries.get("f") as Directory);
  expect(await discoverBootResources(root, noBodies)).toMatchObject([{ kind: "type2", type: "uki" }]);
});

it("attaches the os-release of the tree to plain kernels", async () => {
  const [kernel] = await discover([
    { p: "/usr/lib/modules/1/vmlinuz", t: "f" },
    { p: "/usr/lib/os-release", t: "l", to: "x" },
    { p: "/etc/os-release", t: "f", c: "ID=x\n" },
  ]);
  expect(kernel).toMatchObject({ kind: "vmlinuz", osRelease: { path: "/etc/os-release" } });
});
