// Images made bootable out of a repository (docs/spec/boot.md, section 9): which image is named in which spelling, what is written and
// kept, and what is refused before anything is.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { renderComposefsArgument } from "../../src/boot/kargs/composefs-argument.ts";
import type { FormatVersion } from "../../src/core/erofs.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { openImage } from "../../src/oci/stored-image.ts";
import { prepareBoot, type PrepareBootOptions } from "../../src/oci/prepare-boot.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { type BootFiles, bootLayout, ENTRY_ROOT, KERNEL_ROOT, uki } from "../fixtures/boot-layouts.ts";

const work = mkdtempSync(join(tmpdir(), "composefs-prepare-boot-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
let count = 0;

interface RepositoryOptions {
  algorithm?: Algorithm;
  formats?: readonly FormatVersion[];
}

/** A sysroot with a repository that holds the image `t`. */
async function sysroot(
  files: BootFiles,
  { algorithm = "sha256", formats = [1] }: RepositoryOptions = {},
): Promise<string> {
  const root = join(work, `${count++}`);
  const path = join(root, "composefs");
  const { reference } = bootLayout(join(root, "layout"), "t", files);
  await Repository.init(path, { algorithm, insecure: true, erofsVersion: formats[0] ?? 1 });
  if (formats.length > 1) {
    const meta = JSON.parse(readFileSync(join(path, "meta.json"), "utf8")) as Record<string, unknown>;
    meta.erofs_formats = { default: formats[0], extra: formats.slice(1) };
    writeFileSync(join(path, "meta.json"), JSON.stringify(meta));
  }
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  await pull(repository, reference, { tag: "t" });
  return root;
}

async function prepare(root: string, options: Partial<PrepareBootOptions> = {}, name = "t") {
  await using repository = await Repository.open(join(root, "composefs"), {
    write: options.dryRun !== true,
    durability: "none",
  });
  return await prepareBoot(repository, name, { bootDirectory: join(root, "boot"), ...options });
}

async function bootId(root: string, version: FormatVersion): Promise<string> {
  await using repository = await Repository.open(join(root, "composefs"));
  return await computeImageId(repository, "t", { bootable: true, version });
}

function filesBelow(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((name) => statSync(join(directory, name)).isFile())
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(join(directory, name)))
          .digest("hex"),
      ]),
  );
}

const hash = (content: string | Uint8Array | undefined) =>
  createHash("sha256")
    .update(content ?? "")
    .digest("hex");

describe("the argument names the image of the default format, in the spelling of that format", () => {
  test.each<[Algorithm, FormatVersion[], FormatVersion]>([
    ["sha512", [1], 1],
    ["sha256", [2], 2],
    ["sha256", [0], 0],
    ["sha256", [1, 2], 1],
    ["sha256", [2, 1], 2],
  ])("%s, formats %j", async (algorithm, formats, version) => {
    const root = await sysroot(KERNEL_ROOT, { algorithm, formats });
    const expected = await bootId(root, version);
    const dry = await prepare(root, { dryRun: true });
    expect(dry.results).toEqual([]);
    expect(readdirSync(root).toSorted()).toEqual(["composefs", "layout"]);
    const done = await prepare(root, { kernelArguments: ["rw"] });
    const argument = renderComposefsArgument({ version, digest: expected, insecure: true });
    for (const { digest, version: made, argument: written } of [dry, done])
      expect({ digest, made, written }).toEqual({ digest: expected, made: version, written: argument });
    const entry = `# File created by composefs\ntitle todoOS\nversion 0-todo\nlinux /6.1.0/vmlinuz\ninitrd /6.1.0/initramfs.img\noptions ${argument} rw\n`;
    expect(filesBelow(join(root, "boot"))).toEqual({
      "6.1.0/vmlinuz": hash(KERNEL_ROOT["usr/lib/modules/6.1.0/vmlinuz"]),
      "6.1.0/initramfs.img": hash(KERNEL_ROOT["usr/lib/modules/6.1.0/initramfs.img"]),
      "loader/entries/6.1.0.conf": hash(entry),
    });
    expect(done.results[0]?.sha256).toBe(hash(KERNEL_ROOT["usr/lib/modules/6.1.0/vmlinuz"]));
    expect(done.stateDirectory).toBe(join(root, "state/deploy", expected));
    expect(readdirSync(done.stateDirectory, { recursive: true, encoding: "utf8" }).toSorted()).toEqual([
      "etc",
      "etc/upper",
      "etc/work",
      "var",
    ]);
    // The images of all formats are there, and stay: the config names them.
    await using repository = await Repository.open(join(root, "composefs"), { write: true });
    for (const format of formats) expect(repository.hasObject(await bootId(root, format))).toBe(true);
    const { imageRefs } = await openImage(repository, "t");
    expect([...imageRefs.values()]).toContain(expected);
    expect(readdirSync(join(root, "composefs/images"))).toContain(expected);
  });
});

test("title and version come from os-release when that is asked for", async () => {
  const root = await sysroot(KERNEL_ROOT);
  const { entry } = await prepare(root, { titleFromOsRelease: true, entryId: "os", subdirectory: "sub" });
  expect(entry).toBe("sub/loader/entries/os.conf");
  expect(readFileSync(join(root, "boot", entry), "utf8")).toMatch(
    /^# File created by composefs\ntitle Example OS\nversion 42\nlinux \/sub\/os\/vmlinuz\n/,
  );
});

test("a second time everything is kept; a damaged kernel is replaced", async () => {
  const root = await sysroot(KERNEL_ROOT);
  await prepare(root);
  const before = filesBelow(join(root, "boot"));
  writeFileSync(join(root, "boot/6.1.0/initramfs.img"), "damaged");
  const warnings: string[] = [];
  const onProgress: PrepareBootOptions["onProgress"] = (event) => {
    if (event.type === "warning") warnings.push(event.message);
  };
  const again = await prepare(root, { onProgress });
  expect(warnings).toEqual([expect.stringContaining("6.1.0/initramfs.img was another file before")]);
  expect(again.results.map(({ result }) => result)).toEqual(["kept", "replaced", "replaced"]);
  expect(filesBelow(join(root, "boot"))).toEqual(before);
});

test("an entry of the image keeps its lines", async () => {
  const root = await sysroot(ENTRY_ROOT);
  const { entry, argument } = await prepare(root, { entryId: "new", kernelArguments: ["quiet", "ro"] });
  expect(readFileSync(join(root, "boot", entry), "utf8")).toBe(
    `# an entry\ntitle Img\nversion 3\nlinux  /new/linux\ninitrd /new/initrd\noptions root=x quiet ${argument} ro\n`,
  );
});

test("an image named by its config is made bootable too", async () => {
  const root = await sysroot(KERNEL_ROOT);
  const digest = await (async () => {
    await using repository = await Repository.open(join(root, "composefs"));
    return (await openImage(repository, "t")).config.digest;
  })();
  const warnings: string[] = [];
  const onProgress: PrepareBootOptions["onProgress"] = (event) => {
    if (event.type === "warning") warnings.push(event.message);
  };
  const done = await prepare(root, { onProgress }, `@${digest}`);
  expect(done.digest).toBe(await bootId(root, 1));
  expect(warnings).toEqual([expect.stringContaining("named by its config")]);
});

describe("a UKI", () => {
  const withUki = (commandLine: string): BootFiles => ({
    "usr/bin/init": "#!/bin/sh\n",
    "boot/EFI/Linux/a.addon.efi": "not looked at",
    "boot/EFI/Linux/s/os.efi": uki(commandLine),
  });

  async function idOf(algorithm: Algorithm, formats: FormatVersion[], version: FormatVersion): Promise<string> {
    return bootId(await sysroot(withUki("quiet"), { algorithm, formats }), version);
  }

  test.each<FormatVersion>([1, 2])("that names the image of format %d is copied as it is", async (version) => {
    const formats: FormatVersion[] = [1, 2];
    const id = await idOf("sha256", formats, version);
    const files = withUki(`rw ${renderComposefsArgument({ version, digest: id, insecure: false })}`);
    const root = await sysroot(files, { formats });
    for (const dryRun of [true, false]) {
      const done = await prepare(root, { dryRun });
      expect(done).toMatchObject({ boots: "uki", digest: id, entry: "EFI/Linux/s/os.efi" });
    }
    expect(filesBelow(join(root, "boot"))).toEqual({ "EFI/Linux/s/os.efi": hash(files["boot/EFI/Linux/s/os.efi"]) });
    expect(readdirSync(join(root, "state/deploy"))).toEqual([id]);
  });

  test.each<[string, string, Partial<PrepareBootOptions>, object]>([
    ["that names another image", `composefs=${"ab".repeat(32)}`, {}, { reason: "uki-digest-mismatch" }],
    ["that names none", "quiet", {}, { reason: "uki-no-karg" }],
    ["whose argument is broken", "composefs.digest=v9-x", {}, { reason: "karg-bad-descriptor" }],
    [
      "with arguments to add",
      `composefs=${"ab".repeat(32)}`,
      { kernelArguments: ["rw"] },
      { reason: "cmdline-on-uki", code: "usage" },
    ],
  ])("%s is refused, and nothing written", async (_, commandLine, options, error) => {
    const root = await sysroot(withUki(commandLine));
    for (const dryRun of [true, false])
      await expect(prepare(root, { ...options, dryRun })).rejects.toMatchObject(error);
    expect(readdirSync(root).toSorted()).toEqual(["composefs", "layout"]);
  });
});

describe("refused, and nothing written", () => {
  test.each<[string, BootFiles, Partial<PrepareBootOptions>, object]>([
    ["an image with nothing to boot", { "usr/a": "x" }, {}, { reason: "no-entries" }],
    ["a kernel without initramfs", { "usr/lib/modules/6/vmlinuz": "K" }, {}, { reason: "no-initramfs" }],
    ["an entry id that is a path", KERNEL_ROOT, { entryId: "../x" }, { code: "usage" }],
    ["a config that is another one", KERNEL_ROOT, { verity: "ab".repeat(32) }, { code: "digest-mismatch" }],
  ])("%s", async (_, files, options, error) => {
    const root = await sysroot(files);
    await expect(prepare(root, options)).rejects.toMatchObject(error);
    expect(readdirSync(root).toSorted()).toEqual(["composefs", "layout"]);
  });

  test("a damaged kernel in the repository: no entry appears", async () => {
    const root = await sysroot(KERNEL_ROOT);
    const { digest } = await prepare(root, { dryRun: true });
    expect(digest).toBe(await bootId(root, 1));
    const objects = join(root, "composefs/objects");
    const kernel = readdirSync(objects, { recursive: true, encoding: "utf8" })
      .map((name) => join(objects, name))
      .find((path) => statSync(path).size === 3_000_001 && readFileSync(path, "latin1").startsWith("kernel"))!;
    const bytes = readFileSync(kernel);
    bytes[2_500_000] = 1;
    rmSync(kernel);
    writeFileSync(kernel, bytes);
    await expect(prepare(root)).rejects.toMatchObject({ code: "corrupt" });
    expect(filesBelow(join(root, "boot"))).toEqual({});
  });
});
