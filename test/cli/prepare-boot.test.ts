// `oci prepare-boot` as users see it: text, JSON, a dry run, and what goes wrong.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { bootLayout, KERNEL_ROOT, uki } from "../fixtures/boot-layouts.ts";
import { run as runProgram, temporaryDirectory } from "./program.ts";

const scratch = temporaryDirectory();
const repo = join(scratch, "composefs");
const boot = join(scratch, "boot");
const run = (...args: string[]) => runProgram(["--repo", repo, ...args]);

beforeAll(async () => {
  expect((await runProgram(["init", "--insecure", repo])).status).toBe(0);
  const images = {
    kernel: KERNEL_ROOT,
    uki: { "usr/x": "x", "boot/EFI/Linux/u.efi": uki("quiet") },
  };
  for (const [tag, files] of Object.entries(images)) {
    const { reference } = bootLayout(join(scratch, `layout-${tag}`), tag, files);
    const pulled = await run("oci", "pull", reference, tag);
    expect(pulled.status, pulled.stderr).toBe(0);
  }
});

interface Printed {
  image: string;
  argument: string;
  entry: string;
  state: string;
  dry_run: boolean;
  files: { path: string; result: string; text?: string; sha256?: string }[];
}

it("says what it would do, does it, and keeps it", async () => {
  const words = ["oci", "prepare-boot", "kernel", "--bootdir", boot, "--cmdline", "rw", "--title-from-os-release"];
  const dry = await run(...words, "--dry-run", "--json");
  expect(dry.stderr).toBe("");
  const planned = JSON.parse(dry.stdout) as Printed;
  expect(planned.dry_run).toBe(true);
  expect(planned.files.map(({ path, result }) => [path, result])).toEqual([
    ["6.1.0/vmlinuz", "copy"],
    ["6.1.0/initramfs.img", "copy"],
    ["loader/entries/6.1.0.conf", "write"],
  ]);
  expect(existsSync(boot)).toBe(false);
  const done = await run(...words);
  expect(done.status, done.stderr).toBe(0);
  expect(done.stderr).toContain("6.1.0/vmlinuz: 2.86 MiB in ");
  expect(done.stdout).toBe(
    [
      `image    ${planned.image}`,
      `argument ${planned.argument}`,
      `state    ${planned.state}`,
      "written  6.1.0/vmlinuz",
      "written  6.1.0/initramfs.img",
      "written  loader/entries/6.1.0.conf",
      "entry    loader/entries/6.1.0.conf",
      "",
    ].join("\n"),
  );
  const entry = readFileSync(join(boot, planned.entry), "utf8");
  expect(entry).toBe(planned.files[2]?.text);
  expect(entry).toContain("title Example OS\nversion 42\n");
  expect(entry).toContain(`options ${planned.argument} rw\n`);
  const again = JSON.parse((await run(...words, "--json")).stdout) as Printed;
  expect(again.files.map(({ result }) => result)).toEqual(["kept", "kept", "replaced"]);
  expect(again.files[0]?.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(readdirSync(join(scratch, "state/deploy"))).toEqual([planned.image]);
});

it("fails with the file and what to do", async () => {
  const added = await run("oci", "prepare-boot", "uki", "--bootdir", boot, "--cmdline", "rw");
  expect(added.status).toBe(2);
  expect(added.stderr).toContain("/boot/EFI/Linux/u.efi has its own kernel command line");
  const none = await run("oci", "prepare-boot", "uki", "--bootdir", boot);
  expect(none.status).toBe(1);
  expect(none.stderr).toContain("names no composefs image");
  expect(none.stderr).toContain("compute-karg");
  const id = await run("oci", "prepare-boot", "kernel", "--bootdir", boot, "--entry-id", "a/b");
  expect(id.status).toBe(2);
  const inTheWay = join(scratch, "other");
  mkdirSync(inTheWay);
  writeFileSync(join(inTheWay, "loader"), "a file");
  const blocked = await run("oci", "prepare-boot", "kernel", "--bootdir", inTheWay);
  expect(blocked.status).toBe(1);
  expect(blocked.stderr).toContain(join(inTheWay, "loader"));
});
