// Sealing (docs/spec/boot.md, sections 2, 5 and 14): the digest on the command line is that of the result, the result is the same
// each time, and nothing of an old output is lost. What cfsctl, skopeo and sbverify say: test/interop/seal.test.ts.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesSource, PeFile } from "../../src/boot/pe/read.ts";
import { inspectUki } from "../../src/boot/uki/inspect.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { contentDigest } from "../../src/oci/digest.ts";
import { imageTree } from "../../src/oci/image-tree.ts";
import { inspectImage } from "../../src/oci/inspect.ts";
import { pull } from "../../src/oci/pull.ts";
import { TarReader } from "../../src/oci/tar.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { SealOptions } from "../../src/seal/options.ts";
import { planSeal, sealImage } from "../../src/seal/seal.ts";
import { isLookupFailure, walkDirectory } from "../../src/tree/lookup.ts";
import {
  INITRAMFS,
  KERNEL,
  KERNEL_VERSION,
  sealableEntries,
  sealableLayout,
  writeSigner,
} from "../fixtures/sealable.ts";
import { tar, type TarEntry } from "../fixtures/tar.ts";

const work = mkdtempSync(join(tmpdir(), "seal-test-"));
afterAll(() => rmSync(work, { recursive: true }));
let number = 0;
const place = () => join(work, String(number++));

// The fixture is for amd64.
const platform = { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };
const stub = join(work, "the.stub");
const defaults: SealOptions = { platform, temporaryDirectory: work, stub };
const from = (reference: string) => ({ kind: "reference", reference }) as const;
const into = (directory: string, tag?: string) => ({ kind: "layout", directory, tag }) as const;

let layout = "";
let source = "";
beforeAll(() => {
  const entry = sealableEntries().find(({ path }) => path.endsWith(".stub"));
  writeFileSync(stub, entry?.content ?? "");
  layout = place();
  source = sealableLayout(layout).reference;
});

/** Every file of a directory with its content. */
function snapshot(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map((file) => {
      const path = join(file.parentPath, file.name);
      return [relative(directory, path), contentDigest(readFileSync(path))];
    }),
  );
}

interface Document {
  readonly digest: string;
  readonly layers: { digest: string; mediaType: string }[];
  readonly manifests: Document[];
}

const blob = (directory: string, digest: string) =>
  readFileSync(join(directory, "blobs/sha256", digest.slice("sha256:".length)));

/** The entries of the last layer of the only image. */
function lastLayer(directory: string): Map<string, Buffer> {
  const index = JSON.parse(readFileSync(join(directory, "index.json"), "utf8")) as Document;
  const manifest = JSON.parse(blob(directory, index.manifests.at(-1)?.digest ?? "").toString()) as Document;
  const files = new Map<string, Buffer>();
  let path = "";
  const reader = new TarReader("the layer", {
    entry: (entry, content) => {
      path = entry.path;
      files.set(path, Buffer.from(content ?? []));
    },
    content: (bytes) => void files.set(path, Buffer.concat([files.get(path) as Buffer, bytes])),
  });
  reader.push(blob(directory, manifest.layers.at(-1)?.digest ?? ""));
  reader.finish();
  return files;
}

describe("a sealed image", () => {
  it("holds a UKI of its own parts with its own digest", async () => {
    const out = place();
    const result = await sealImage(from(source), into(out, "sealed"), {
      ...defaults,
      kernelArguments: ["console=ttyS0", "a=b c"],
    });
    const { bootId } = result;
    expect(bootId).toMatch(/^[0-9a-f]{128}$/);
    expect(result.commandLine).toBe(
      `${process.arch === "arm64" ? "ro " : ""}rw quiet composefs=${bootId} console=ttyS0 a=b c`,
    );
    expect(result).toMatchObject({ kernelVersion: KERNEL_VERSION, version: 2, algorithm: "sha512", signed: false });
    expect(result.ukiPath).toBe(`/boot/EFI/Linux/${KERNEL_VERSION}.efi`);
    const layer = lastLayer(out);
    expect([...layer.keys()]).toEqual(["boot/EFI/", "boot/EFI/Linux/", `boot/EFI/Linux/${KERNEL_VERSION}.efi`]);
    const bytes = layer.get(`boot/EFI/Linux/${KERNEL_VERSION}.efi`) ?? Buffer.alloc(0);
    const uki = PeFile.read(bytesSource(bytes), "the UKI");
    expect(Buffer.from(uki.bytes(".linux"))).toEqual(KERNEL);
    expect(Buffer.from(uki.bytes(".initrd"))).toEqual(INITRAMFS);
    expect(await inspectUki(uki, bytesSource(bytes))).toMatchObject({
      label: "Test OS 3",
      kernelVersion: KERNEL_VERSION,
      commandLine: result.commandLine,
      composefs: [{ digest: bootId }],
    });
    await using repository = await newRepository();
    await pull(repository, `oci:${out}:sealed`, { tag: "s", platform, bootable: true, formats: [1, 2] });
    await pull(repository, source, { tag: "base", platform });
    expect(await computeImageId(repository, "s", { bootable: true, version: 2 })).toBe(bootId);
    expect(await computeImageId(repository, "base", { bootable: true, version: 2 })).toBe(bootId);
    const { composefs } = await labelsOf(repository, "s");
    expect(composefs).toBe(result.imageId);
    expect(await computeImageId(repository, "s", { version: 2 })).toBe(result.imageId);
    const { manifest } = await inspectImage(repository, "s");
    const annotations = (JSON.parse(manifest) as { annotations: Record<string, string> }).annotations;
    expect(annotations).toEqual({
      "composefs.merged.erofs.v1.fsverity-sha512-12": await computeImageId(repository, "s", { version: 1 }),
      "composefs.merged.bootable.erofs.v1.fsverity-sha512-12": await computeImageId(repository, "s", {
        version: 1,
        bootable: true,
      }),
    });
    expect(readdirSync(work).filter((name) => name.startsWith("composefs-seal-"))).toEqual([]);
  });

  it("is the same each time, wherever it is written", async () => {
    const [a, b] = [place(), place()];
    const first = await sealImage(from(source), into(a, "x"), defaults);
    expect(await sealImage(from(source), into(b, "x"), defaults)).toEqual(first);
    expect(snapshot(b)).toEqual(snapshot(a));
    await sealImage(from(source), into(b, "x"), defaults);
    expect(snapshot(b)).toEqual(snapshot(a));
  });

  it("is what the plan says, which writes nothing", async () => {
    const before = snapshot(layout);
    const plan = await planSeal(from(source), defaults);
    const out = place();
    expect(await sealImage(from(source), into(out), defaults)).toMatchObject({ ...plan, signed: false });
    expect(snapshot(layout)).toEqual(before);
  });

  it("can lie beside the one it was made from", async () => {
    const both = place();
    cpSync(layout, both, { recursive: true });
    await sealImage(from(`oci:${both}:v1`), into(both, "sealed"), defaults);
    const tags = (
      JSON.parse(readFileSync(join(both, "index.json"), "utf8")) as { manifests: { annotations: object }[] }
    ).manifests;
    expect(tags.map(({ annotations }) => Object.values(annotations)[0] as string)).toEqual(["v1", "sealed"]);
    for (const [path, digest] of Object.entries(snapshot(layout))) {
      if (path.startsWith("blobs")) expect(snapshot(both)[path]).toBe(digest);
    }
  });

  it.each<[string, SealOptions, RegExp]>([
    ["sha256", { algorithm: "sha256" }, /^rw quiet composefs=[0-9a-f]{64}$/],
    ["format 1", { version: 1 }, /^rw quiet composefs\.digest=v1-sha512-12:[0-9a-f]{128}$/],
    ["without fs-verity", { allowMissingVerity: true }, /^rw quiet composefs=\?[0-9a-f]{128}$/],
  ])("of another kind: %s", async (_, options, expected) => {
    const { commandLine } = await planSeal(from(source), { ...defaults, ...options });
    expect(commandLine.replace(/^ro /, "")).toMatch(expected);
  });

  it("goes into a repository with the image that it boots, where fsck finds it", async () => {
    await using repository = await newRepository();
    const output = { kind: "tag", repository, name: "sealed" } as const;
    const { bootId } = await sealImage(from(source), output, defaults);
    expect(repository.resolveImage(bootId).id).toBe(bootId);
    const { ok } = await checkRepository(repository);
    expect(ok).toBe(true);
    const again = { kind: "stored", repository, name: "sealed" } as const;
    const plan = await planSeal(again, { ...defaults, replace: true });
    expect(plan.bootId).toBe(bootId);
    const second = await sealImage(
      again,
      { kind: "tag", repository, name: "again" },
      { ...defaults, ukiPath: "/boot/EFI/Linux/b.efi", replace: true },
    );
    expect(second).toMatchObject({ bootId, replaced: [`/boot/EFI/Linux/${KERNEL_VERSION}.efi`] });
    // Layers that stay where they are keep their descriptors: what came as gzip is still known by that digest.
    const layersOf = async (name: string) =>
      (JSON.parse((await inspectImage(repository, name)).manifest) as { layers: object[] }).layers;
    expect((await layersOf("again")).slice(0, 2)).toEqual(await layersOf("sealed"));
    expect((await layersOf("sealed"))[0]).toMatchObject({ mediaType: expect.stringMatching(/gzip$/) });
    const written = await sealImage(again, into(place(), "x"), defaults);
    expect(written.bootId).toBe(bootId);
  });

  it("can be made of a directory", async () => {
    const root = place();
    for (const { path, type = "file", content } of sealableEntries()) {
      if (type === "directory") mkdirSync(join(root, path), { recursive: true });
      else if (type === "file") writeFileSync(join(root, path), content ?? "");
    }
    const out = place();
    const result = await sealImage({ kind: "directory", path: root }, into(out, "x"), defaults);
    await using repository = await newRepository();
    await pull(repository, `oci:${out}:x`, { tag: "s", platform });
    expect(await computeImageId(repository, "s", { bootable: true, version: 2 })).toBe(result.bootId);
    expect(await sealImage({ kind: "directory", path: root }, into(place(), "x"), defaults)).toEqual(result);
  });
});

describe("addons", () => {
  const addons = [
    { name: "debug", commandLine: "console=ttyS0 debug" },
    { name: "rescue", commandLine: "systemd.unit=rescue.target" },
  ];

  it("lie beside the UKI, are signed with it, and are replaced with it", async () => {
    const first = place();
    const extra = `boot/EFI/Linux/${KERNEL_VERSION}.efi.extra.d`;
    const text = `'${process.execPath}' ${"deno" in process.versions ? "run -A" : ""} '${writeSigner(work, "good")}' {in} {out}`;
    const sign = { text, shell: false };
    const result = await sealImage(from(source), into(first, "x"), { ...defaults, addons, addonStub: stub, sign });
    expect(result.addonPaths).toEqual([`/${extra}/debug.addon.efi`, `/${extra}/rescue.addon.efi`]);
    const layer = lastLayer(first);
    expect([...layer.keys()].slice(2)).toEqual([
      `boot/EFI/Linux/${KERNEL_VERSION}.efi`,
      `${extra}/`,
      `${extra}/debug.addon.efi`,
      `${extra}/rescue.addon.efi`,
    ]);
    const bytes = layer.get(`${extra}/debug.addon.efi`) ?? Buffer.alloc(0);
    expect(await inspectUki(PeFile.read(bytesSource(bytes), "addon"), bytesSource(bytes))).toMatchObject({
      kind: "addon",
      signed: true,
      commandLine: "console=ttyS0 debug",
    });
    expect(result.bootId).toBe((await planSeal(from(source), defaults)).bootId);
    const second = place();
    const sealedOnce = from(`oci:${first}:x`);
    const options = { ...defaults, replace: true, addons: addons.slice(0, 1), addonStub: stub };
    const again = await sealImage(sealedOnce, into(second, "x"), options);
    expect(again.replaced).toEqual([`/${extra}/debug.addon.efi`, `/${extra}/rescue.addon.efi`]);
    await using repository = await newRepository();
    await pull(repository, `oci:${second}:x`, { tag: "s", platform });
    const root = await imageTree(repository, "s");
    const directory = walkDirectory(root, extra.split("/"));
    if (isLookupFailure(directory)) throw new Error("no directory of addons");
    expect([...directory.entries.keys()]).toEqual(["debug.addon.efi"]);
  });
});

describe("signing", () => {
  const sign = (how: Parameters<typeof writeSigner>[1], words = "{in} {out}") => ({
    text: `'${process.execPath}' ${"deno" in process.versions ? "run -A" : ""} '${writeSigner(work, how)}' ${words}`,
    shell: false,
  });

  it("puts the signed file into the image, also when it was signed in place", async () => {
    const results = [];
    for (const words of ["{in} {out}", "{in}"]) {
      const out = place();
      const result = await sealImage(from(source), into(out), { ...defaults, sign: sign("good", words) });
      expect(result.signed).toBe(true);
      expect(result.ukiSize % 512).toBe(64);
      expect([...lastLayer(out).values()].at(-1)?.length).toBe(result.ukiSize);
      results.push(result);
    }
    expect(results[0]).toEqual(results[1]);
    const unsigned = await planSeal(from(source), defaults);
    expect(results[0]?.bootId).toBe(unsigned.bootId);
  });

  it.each<[string, SealOptions["sign"], string]>([
    ["leaves no signature", sign("nothing"), "left no signature"],
    ["changes the command line", sign("changes-command-line"), "changed more than the signature"],
    ["writes nothing", { text: "true {in} {out}", shell: false }, "wrote nothing"],
    ["fails", { text: "false {in}", shell: false }, "status 1"],
    ["has no {in}", { text: "sbsign x", shell: false }, "{in}"],
    ["leaves no PE file", { text: "cp /dev/null {out} # {in}", shell: true }, "PE file"],
  ])("that %s leaves the old output", async (_, command, words) => {
    const out = place();
    await sealImage(from(source), into(out, "x"), defaults);
    const before = snapshot(out);
    const options = { ...defaults, kernelArguments: ["other"], sign: command };
    await expect(sealImage(from(source), into(out, "x"), options)).rejects.toThrow(words);
    expect(snapshot(out)).toEqual(before);
  });
});

describe("what cannot be sealed", () => {
  const uki: TarEntry[] = [
    { path: "boot/EFI", type: "directory" },
    { path: "boot/EFI/Linux", type: "directory" },
    { path: "boot/EFI/Linux/other.efi", content: Buffer.alloc(100) },
  ];
  const kernel = (version: string): TarEntry[] => [
    { path: `usr/lib/modules/${version}`, type: "directory" },
    { path: `usr/lib/modules/${version}/vmlinuz`, content: KERNEL },
  ];

  it.each<[string, { without?: string[]; more?: TarEntry[] }, SealOptions, object]>([
    [
      "no kernel",
      { without: ["usr/lib/modules"] },
      {},
      { code: "not-found", hint: expect.stringContaining("--kernel") },
    ],
    ["two kernels", { more: kernel("6.2") }, {}, { message: expect.stringContaining("6.1.0-test, 6.2") }],
    ["an unknown kernel", {}, { kernelVersion: "7" }, { hint: "it has 6.1.0-test" }],
    ["no initramfs", { more: kernel("6.2") }, { kernelVersion: "6.2" }, { reason: "no-initramfs" }],
    ["no /boot", { without: ["boot"] }, {}, { reason: "not-found" }],
    ["another UKI", { more: uki }, {}, { code: "exists", hint: expect.stringContaining("--replace") }],
    [
      "a UKI in /usr",
      { more: [{ path: "usr/lib/modules/6.1.0-test/a.efi", content: Buffer.alloc(100) }] },
      { replace: true },
      { code: "exists", hint: expect.stringContaining("outside of /boot") },
    ],
    ["a place outside of /boot", {}, { ukiPath: "/usr/lib/a.efi" }, { code: "usage" }],
    ["a place above", {}, { ukiPath: "/boot/../a.efi" }, { code: "usage" }],
    ["a place of an addon", {}, { ukiPath: "/boot/a.addon.efi" }, { code: "usage" }],
    ["an argument that names an image", {}, { kernelArguments: ["composefs=x"] }, { code: "usage" }],
    [
      "kargs.d that names an image",
      { more: [{ path: "usr/lib/bootc/kargs.d/99.toml", content: Buffer.from('kargs = ["composefs=x"]') }] },
      {},
      { code: "invalid", path: expect.stringContaining("kargs.d") },
    ],
    [
      "kargs.d that is no TOML",
      { more: [{ path: "usr/lib/bootc/kargs.d/99.toml", content: Buffer.from("kargs = \n[") }] },
      {},
      { path: "usr/lib/bootc/kargs.d/99.toml", line: expect.any(Number) },
    ],
    ["a stub that is none", {}, { stub: "/dev/null" }, { code: "invalid" }],
    [
      "a kernel that is missing",
      {},
      { kernel: join(work, "missing"), initramfs: [stub], kernelVersion: "1" },
      { code: "not-found", path: join(work, "missing") },
    ],
    ["a kernel without a version", {}, { kernel: stub }, { code: "usage" }],
    ["an addon of an impossible name", {}, { addons: [{ name: "a/b", commandLine: "x" }] }, { code: "usage" }],
    ["an addon that names an image", {}, { addons: [{ name: "a", commandLine: "composefs=x" }] }, { code: "usage" }],
    [
      "an addon without a stub",
      {},
      { addons: [{ name: "a", commandLine: "x" }], addonStub: undefined },
      { code: "not-found", hint: expect.stringContaining("--addon-stub") },
    ],
    ["a version with a slash", {}, { kernel: "/dev/null/missing", kernelVersion: "../x" }, { reason: "invalid-name" }],
  ])("%s", async (_, image, options, expected) => {
    const folder = place();
    const { reference } = sealableLayout(folder, image);
    const out = place();
    await expect(sealImage(from(reference), into(out), { ...defaults, ...options })).rejects.toMatchObject({
      name: "ComposefsError",
      ...expected,
    });
    expect(readdirSync(work)).not.toContain(relative(work, out));
    expect(readdirSync(work).filter((name) => name.startsWith("composefs-seal-"))).toEqual([]);
  });

  it("replaces another UKI when told to", async () => {
    const folder = place();
    const { reference } = sealableLayout(folder, { more: uki });
    const out = place();
    const { replaced, bootId } = await sealImage(from(reference), into(out), { ...defaults, replace: true });
    expect(replaced).toEqual(["/boot/EFI/Linux/other.efi"]);
    expect([...lastLayer(out).keys()]).toEqual([
      "boot/EFI/Linux/.wh.other.efi",
      `boot/EFI/Linux/${KERNEL_VERSION}.efi`,
    ]);
    expect(bootId).toBe((await planSeal(from(source), defaults)).bootId);
  });

  it("is stopped by the caller's signal, at once and in the middle", async () => {
    const out = place();
    const stop = AbortSignal.abort();
    await expect(sealImage(from(source), into(out), { ...defaults, signal: stop })).rejects.toMatchObject({
      code: "aborted",
    });
    const later = new AbortController();
    const onProgress = (event: { type: string; id?: string }) => {
      if (event.type === "start" && event.id === "digest") later.abort();
    };
    const options = { ...defaults, signal: later.signal, onProgress };
    await expect(sealImage(from(source), into(out), options)).rejects.toMatchObject({ code: "aborted" });
    expect(readdirSync(work)).not.toContain(relative(work, out));
  });

  it("warns of entries that come before the UKI", async () => {
    const entry: TarEntry[] = [
      { path: "boot/loader", type: "directory" },
      { path: "boot/loader/entries", type: "directory" },
      { path: "boot/loader/entries/a.conf", content: Buffer.from("title a\n") },
    ];
    const { reference } = sealableLayout(place(), { more: entry });
    const { warnings } = await planSeal(from(reference), defaults);
    expect(warnings).toEqual([expect.stringContaining("/boot/loader/entries")]);
  });
});

async function newRepository(): Promise<Repository> {
  const path = place();
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  return Repository.open(path, { write: true });
}

async function labelsOf(repository: Repository, name: string): Promise<{ composefs: string | undefined }> {
  const { config } = await inspectImage(repository, name);
  const { config: inner } = JSON.parse(config) as { config: { Labels: Record<string, string> } };
  return { composefs: inner.Labels["containers.composefs.fsverity"] };
}

it("the fixture is an archive", () => expect(tar(sealableEntries()).length % 512).toBe(0));
