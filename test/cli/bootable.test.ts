// The commands that make boot images, as programs (docs/spec/boot.md, section 2; cli-cfsctl.md, sections 3.2 and 4.1).

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composefs, composefsOutput } from "../fixtures/composefs.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { goldensDir } from "../goldens-dir.ts";

const work = mkdtempSync(join(tmpdir(), "composefs-bootable-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const root = join(work, "root");
const repository = join(work, "repository");
let reference: string;

function put(path: string, text: string, below = root): void {
  mkdirSync(dirname(join(below, path)), { recursive: true });
  writeFileSync(join(below, path), text);
}

function makeRoot(below: string): void {
  for (const name of ["usr", "boot", "sysroot"]) mkdirSync(join(below, name), { recursive: true });
  put("usr/lib/modules/6.1/vmlinuz", "kernel", below);
  put("boot/EFI/Linux/a.efi", "uki", below);
  put("etc/selinux/config", "SELINUXTYPE=t\n", below);
  put("etc/selinux/t/contexts/files/file_contexts", "/usr/lib u:exact\n/usr/.* u:usr\n/etc(/.*)? u:etc\n", below);
}

beforeAll(() => {
  makeRoot(root);
  composefsOutput(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repository]);
  const layer = readFileSync(join(goldensDir("boot"), "transform/policy.tar"));
  ({ reference } = writeLayout(join(work, "layout"), "latest", [{ tar: layer, compression: "none" }]));
});

const noRepo = (...args: string[]) => composefsOutput(["--no-repo", "--quiet", ...args]).trim();
const inRepo = (...args: string[]) => composefsOutput(["--repo", repository, "--quiet", ...args]).trim();

describe("directories", () => {
  it("compute-id, compute-karg and create-image agree", () => {
    for (const version of ["0", "1", "2"]) {
      const id = noRepo("--hash", "sha256", "--erofs-version", version, "compute-id", "--bootable", root);
      const karg = noRepo("--hash", "sha256", "--erofs-version", version, "compute-karg", root);
      expect(karg).toBe(version === "2" ? `composefs=${id}` : `composefs.digest=v1-sha256-12:${id}`);
      expect(inRepo("--erofs-version", version, "create-image", "--bootable", root)).toBe(`sha256:${id}`);
    }
  });

  it("compute-karg has an insecure form, and JSON", () => {
    const id = noRepo("compute-id", "--bootable", root);
    expect(noRepo("compute-karg", "--insecure", root)).toBe(`composefs.digest=?v1-sha512-12:${id}`);
    expect(JSON.parse(noRepo("compute-karg", "--insecure", "--json", root))).toEqual({
      path: root,
      argument: `composefs.digest=?v1-sha512-12:${id}`,
      id,
      format: 1,
      algorithm: "sha512",
      insecure: true,
    });
  });

  it("create-dumpfile shows labels and empty directories", () => {
    const lines = noRepo("create-dumpfile", "--bootable", root).split("\n");
    const line = (path: string) => lines.find((text) => text.startsWith(`${path} `));
    expect(line("/usr/lib")).toContain("security.selinux=u:usr");
    expect(line("/etc/selinux/config")).toContain("security.selinux=u:etc");
    expect(line("/boot")).toBeDefined();
    expect(line("/boot/EFI")).toBeUndefined();
  });

  it("the content of /boot changes nothing, that of /usr does", () => {
    const before = noRepo("compute-id", "--bootable", root);
    put("boot/EFI/Linux/b.efi", "another");
    expect(noRepo("compute-id", "--bootable", root)).toBe(before);
    put("usr/new", "file");
    expect(noRepo("compute-id", "--bootable", root)).not.toBe(before);
    rmSync(join(root, "usr/new"));
  });

  it("--lint-labels says where the running system labels otherwise", () => {
    const { status, stdout, stderr } = composefs([
      "--no-repo",
      "compute-id",
      "--bootable",
      "--lint-labels",
      "--json",
      root,
    ]);
    expect(status).toBe(0);
    expect(stderr).toContain(
      "/usr/lib: labelled u:usr, the running system: u:exact (/etc/selinux/t/contexts/files/file_contexts, line 1): exact-rule",
    );
    expect(JSON.parse(stdout)).toMatchObject({
      bootable: true,
      label_differences: [
        {
          path: "/usr/lib",
          label: "u:usr",
          libselinux: "u:exact",
          cause: "exact-rule",
          rule: { line: 2 },
          libselinux_rule: { line: 1 },
        },
      ],
    });
    expect(composefs(["--no-repo", "compute-id", "--lint-labels", root])).toMatchObject({ status: 2 });
  });

  it.each(["compute-id", "create-dumpfile", "create-image", "compute-karg"])(
    "%s says what is missing at once",
    (name) => {
      const bare = join(work, `bare-${name}`);
      mkdirSync(join(bare, "usr"), { recursive: true });
      mkdirSync(join(bare, "boot"));
      const flags = name === "compute-karg" ? [] : ["--bootable"];
      const { status, stderr } = composefs(["--repo", repository, name, ...flags, bare]);
      expect(status).toBe(1);
      expect(stderr).toContain(`${bare}: there is no directory /sysroot in it`);
      expect(stderr).toContain("hint: ");
    },
  );

  it("a policy is found through links, which stay inside the directory", () => {
    const linked = join(work, "linked");
    makeRoot(linked);
    const expected = noRepo("create-dumpfile", "--bootable", linked);
    const contexts = join(linked, "etc/selinux/t/contexts/files/file_contexts");
    put("usr/share/contexts", readFileSync(contexts, "utf8"), linked);
    rmSync(contexts);
    symlinkSync("/usr/share/contexts", contexts);
    const labels = (dump: string) =>
      dump.split("\n").map((text) => [text.split(" ")[0], /selinux=\S*/.exec(text)?.[0]]);
    const dump = labels(noRepo("create-dumpfile", "--bootable", linked));
    expect(dump).toEqual(expect.arrayContaining(labels(expected)));
    rmSync(contexts);
    symlinkSync("/etc/hostname-of-the-host", contexts);
    const { status, stderr } = composefs(["--no-repo", "compute-id", "--bootable", linked]);
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("has no /etc/selinux/t") as string,
    });
  });

  it("what cannot be booted is refused where it will be stored, by name", () => {
    const broken = join(work, "broken");
    makeRoot(broken);
    symlinkSync("a.efi", join(broken, "boot/EFI/Linux/z.efi"));
    expect(composefs(["--repo", repository, "create-image", "--bootable", broken])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("/boot/EFI/Linux/z.efi is not a regular file") as string,
    });
    expect(composefs(["--no-repo", "compute-id", "--bootable", broken]).status).toBe(0);
  });
});

describe("container images", () => {
  it("pull --bootable prints the boot image last, as compute-id and inspect know it", () => {
    const output = inRepo("oci", "pull", "--bootable", reference, "os");
    const [, id = ""] = /^Boot image: ([0-9a-f]{64})$/.exec(output.split("\n").at(-1) ?? "") ?? [];
    expect(id).not.toBe("");
    expect(inRepo("oci", "compute-id", "--bootable", "os")).toBe(id);
    expect(JSON.parse(inRepo("oci", "inspect", "os"))).toMatchObject({ composefs_boot_erofs: id });
    expect(JSON.parse(inRepo("oci", "pull", "--bootable", "--json", reference, "os"))).toMatchObject({
      boot_images: [{ format: 1, xattrs: "allowlist-only", id }],
    });
    expect(inRepo("oci", "dump", "--bootable", "os")).toContain("security.selinux=");
  });

  it("pull --expected-digest says how the boot image was made", () => {
    const id = inRepo("--erofs-version", "2", "oci", "compute-id", "--bootable", "os");
    const output = inRepo("oci", "pull", "--bootable", "--expected-digest", id.toUpperCase(), reference, "os");
    expect(output.split("\n").at(-1)).toBe(`Boot image: ${id} (xattr-mode=allowlist-only, format-version=V2)`);
  });

  it("pull refuses wrong words before it looks for the image", () => {
    const pull = (...args: string[]) => composefs(["--repo", repository, "oci", "pull", ...args, "oci:/no/such"]);
    expect(pull("--expected-digest", "ab".repeat(32))).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("--expected-digest needs --bootable") as string,
    });
    expect(pull("--bootable", "--expected-digest", "ab")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("64 hex digits") as string,
    });
  });

  it("remove-boot lets the boot images go", () => {
    expect(inRepo("oci", "remove-boot", "os").split("\n")).toHaveLength(2);
    expect(JSON.parse(inRepo("oci", "inspect", "os"))).toMatchObject({ composefs_boot_erofs: null });
    expect(composefs(["--repo", repository, "oci", "mount", "--bootable", "os", work])).toMatchObject({ status: 1 });
  });
});
