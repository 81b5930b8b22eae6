// `composefs seal` and `composefs uki build` as programs: output, exit statuses, and kills that lose nothing.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { contentDigest } from "../../src/oci/digest.ts";
import { KERNEL, KERNEL_VERSION, sealableEntries, sealableLayout } from "../fixtures/sealable.ts";
import { run } from "./program.ts";

const work = mkdtempSync(join(tmpdir(), "seal-cli-test-"));
afterAll(() => rmSync(work, { recursive: true }));
const temporary = join(work, "tmp");
const env = { TMPDIR: temporary };
const stub = join(work, "the.stub");
const layout = join(work, "layout");
const platform = ["--platform", `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`];
let source = "";

beforeAll(() => {
  mkdirSync(temporary);
  source = sealableLayout(layout).reference;
  writeFileSync(stub, sealableEntries().find(({ path }) => path.endsWith(".stub"))?.content ?? "");
});

const seal = (...words: string[]) =>
  run(["seal", "--progress", "none", "--stub", stub, ...platform, ...words], { env });

describe("seal", () => {
  it("says what it made", async () => {
    const out = `oci:${join(work, "out")}:s`;
    const { status, stdout, stderr } = await seal(
      source,
      out,
      "--cmdline",
      "console=ttyS0",
      "--digest-file",
      join(work, "digest"),
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const lines = new Map(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => [line.slice(0, 8).trim(), line.slice(9)]),
    );
    expect([...lines.keys()]).toEqual(["boot", "cmdline", "uki", "manifest", "config", "image", "written"]);
    expect(lines.get("cmdline")).toContain(`composefs=${lines.get("boot")} console=ttyS0`);
    expect(lines.get("uki")).toMatch(/^\/boot\/EFI\/Linux\/6\.1\.0-test\.efi \(\d+ bytes, not signed\)$/);
    expect(readFileSync(join(work, "digest"), "utf8")).toBe(`${lines.get("manifest")}\n`);
    const inspected = await run(["uki", "inspect", "--json", "none"]);
    expect(inspected.status).toBe(1);
    const plan = await seal("--dry-run", "--json", source, "--cmdline", "console=ttyS0");
    expect(JSON.parse(plan.stdout)).toMatchObject({
      boot_image: lines.get("boot"),
      algorithm: "sha512",
      format: 2,
      command_line: lines.get("cmdline"),
      kernel_version: KERNEL_VERSION,
      uki: { path: `/boot/EFI/Linux/${KERNEL_VERSION}.efi`, replaces: [], addons: [] },
      parts: {
        kernel: { path: `/usr/lib/modules/${KERNEL_VERSION}/vmlinuz`, from: "image" },
        initrd: { from: "image" },
        stub: { path: stub, from: "file" },
      },
      warnings: [],
    });
    const result = await seal(
      "--json",
      source,
      out,
      "--cmdline",
      "console=ttyS0",
      "--addon",
      "debug=debug x=y",
      "--addon-stub",
      stub,
    );
    expect(JSON.parse(result.stdout)).toMatchObject({
      output: out,
      boot_image: lines.get("boot"),
      uki: { signed: false, addons: [`/boot/EFI/Linux/${KERNEL_VERSION}.efi.extra.d/debug.addon.efi`] },
    });
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("into a repository and within it", async () => {
    const repository = join(work, "repository");
    expect((await run(["init", "--insecure", repository])).status).toBe(0);
    const first = await seal("--repo", repository, "--json", source, "os:v1");
    expect(first).toMatchObject({ status: 0, stderr: "" });
    const { boot_image: id } = JSON.parse(first.stdout) as { boot_image: string };
    const second = await seal("--repo", repository, "--json", "os:v1", "os:v2", "--replace");
    expect(JSON.parse(second.stdout)).toMatchObject({ boot_image: id });
    const fsck = await run(["--repo", repository, "fsck", "--json"]);
    expect(JSON.parse(fsck.stdout)).toMatchObject({ ok: true });
    const pulled = await run(["--repo", repository, "oci", "images", "--json"]);
    expect((JSON.parse(pulled.stdout) as { images: { name: string }[] }).images.map(({ name }) => name)).toEqual([
      "os:v1",
      "os:v2",
    ]);
  });

  it.each<[string, string[], string]>([
    ["no output", ["SOURCE"], "nothing says where"],
    ["an output that a dry run does not need", ["SOURCE", "x", "--dry-run"], "--dry-run"],
    ["two ways to sign", ["SOURCE", "x", "--sign", "a {in}", "--sign-shell", "a {in}"], "two ways"],
    ["a signing command without its file", ["SOURCE", "oci:OUT", "--sign", "a"], "{in}"],
    ["an addon without arguments", ["SOURCE", "oci:OUT", "--addon", "x"], "NAME=ARGUMENTS"],
    ["an argument that names an image", ["SOURCE", "oci:OUT", "--cmdline", "composefs=1"], "names an image"],
    ["a place outside of /boot", ["SOURCE", "oci:OUT", "--uki-path", "/usr/a.efi"], "/boot"],
  ])("refuses %s with status 2", async (_, words, message) => {
    const out = join(work, "never");
    const args = words.map((word) => word.replace("SOURCE", source).replace("OUT", out));
    const { status, stdout, stderr } = await seal(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(readdirSync(work)).not.toContain("never");
  });

  it.each<[string, string[], string]>([
    ["an image that is not there", ["oci:/dev/null/missing:v1", "oci:OUT"], "/dev/null/missing"],
    ["an output that is something else", ["SOURCE", `oci:${work}`], "no OCI layout"],
    ["another transport for the output", ["SOURCE", "docker://x/y"], "skopeo copy"],
    [
      "a signer that fails, with what it said",
      ["SOURCE", "oci:OUT", "--sign-shell", "echo broken >&2; exit 4 # {in}"],
      "status 4: broken",
    ],
  ])("fails for %s with status 1", async (_, words, message) => {
    const out = join(work, "never");
    const args = words.map((word) => word.replace("SOURCE", source).replace("OUT", out));
    const { status, stdout, stderr } = await seal(...args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain(message);
    expect(readdirSync(work)).not.toContain("never");
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("killed at any moment leaves the old image whole", async () => {
    const out = join(work, "killed");
    expect((await seal(source, `oci:${out}:s`)).status).toBe(0);
    const old = readFileSync(join(out, "index.json"), "utf8");
    // Moments all over a run, however long this machine takes for one.
    const begin = Date.now();
    const words = ["seal", "--stub", stub, ...platform, source, `oci:${out}:s`, "--cmdline"];
    expect((await seal(source, `oci:${join(work, "timed")}:s`)).status).toBe(0);
    const duration = Date.now() - begin;
    let kills = 0;
    for (let part = 1; part <= 8; part++) {
      const { status } = await run([...words, `n=${part}`], {
        env,
        onStart: (child) => void setTimeout(() => child.kill("SIGKILL"), (duration * part) / 8),
      });
      const now = readFileSync(join(out, "index.json"), "utf8");
      checkBlobs(out, now);
      if (status !== 0) kills++;
      // It may have been killed after the last write.
      if (now !== old) break;
    }
    expect(kills).toBeGreaterThan(0);
  });
});

/** The digests of all that an index leads to. */
function checkBlobs(directory: string, index: string): void {
  const blob = (digest: string) => {
    const bytes = readFileSync(join(directory, "blobs/sha256", digest.slice("sha256:".length)));
    expect(contentDigest(bytes)).toBe(digest);
    return bytes;
  };
  const { manifests } = JSON.parse(index) as { manifests: { digest: string }[] };
  expect(manifests.length).toBe(1);
  for (const { digest } of manifests) {
    const { config, layers } = JSON.parse(blob(digest).toString()) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    for (const part of [config, ...layers]) blob(part.digest);
  }
}

describe("uki build", () => {
  it("builds what uki inspect shows", async () => {
    const kernel = join(work, "vmlinuz");
    writeFileSync(kernel, KERNEL);
    const out = join(work, "built.efi");
    const files = ["--stub", stub, "--kernel", kernel, "--initramfs", kernel, "--cmdline", "a", "--cmdline", "b c"];
    const built = await run(["uki", "build", out, ...files, "--progress", "none"]);
    expect(built).toMatchObject({ status: 0, stderr: "" });
    expect(built.stdout).toMatch(/built\.efi: uki, \d+ bytes, not signed\n$/);
    expect((await run(["uki", "inspect", out])).stdout).toContain("cmdline  a b c\n");
  });

  it.each([
    [["uki", "build", "x"], "--stub"],
    [["uki", "build", "x", "--stub", "s", "--initramfs", "i"], "kernel"],
  ])("refuses %j", async (words, message) => {
    const { status, stderr } = await run(words);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});
