// `deploy status` as users see it: text, JSON, warnings beside them, and what goes wrong.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { goldensDir } from "../goldens-dir.ts";
import { run, temporaryDirectory } from "./program.ts";

const sysroot = temporaryDirectory();
const id = "a".repeat(128);
const manifest = "sha256:ebe7678d37ff77dd16b5c5b2c66ce404cee3576e636bd2722209ba269658c4c4";
const status = (...words: string[]) => run(["deploy", "status", "--sysroot", sysroot, ...words]);

beforeAll(async () => {
  const repo = join(sysroot, "composefs");
  expect((await run(["init", "--insecure", repo])).status).toBe(0);
  const layout = `oci:${join(goldensDir("deploy"), "oci")}:host1`;
  expect((await run(["--repo", repo, "oci", "pull", layout, "host1"])).status).toBe(0);
  const entries = join(sysroot, "boot/loader/entries");
  const state = join(sysroot, "state/deploy", id);
  for (const directory of [entries, state]) mkdirSync(directory, { recursive: true });
  writeFileSync(join(entries, "a.conf"), `version 1\nlinux /bootc_composefs-${id}/vmlinuz\noptions composefs=?${id}\n`);
  writeFileSync(join(entries, "b.conf"), "title broken\n");
  writeFileSync(
    join(state, `${id}.origin`),
    `[origin]\ncontainer-image-reference = ostree-image-signed:docker://q.x/os:1\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = ${manifest}\n`,
  );
});

const WARNING = "warning: b.conf: the boot entry cannot be used (W_BAD_BOOT_ENTRY, E_BLS_NO_VERSION)\n";

it("shows what there is, and what is damaged beside it", async () => {
  const { status: code, stdout, stderr } = await status("--format", "humanreadable");
  expect({ code, stdout, stderr }).toEqual({
    code: 0,
    stdout: `   Other image: q.x/os:1
        Digest: ${manifest} (amd64)
        Verity: ${id}
       Version: 1.0 (2025-03-01T10:00:00Z)
`,
    stderr: WARNING,
  });
  const verbose = await status("--format", "humanreadable", "--verbose", "--quiet");
  expect(verbose.stderr).toBe("");
  expect(verbose.stdout.split("\n").slice(4)).toEqual([
    "     Signature: container-policy",
    "   Soft-reboot: no",
    "      FsVerity: Not Enforced",
    "",
  ]);
});

it("prints the document into a pipe, or when it is asked for", async () => {
  const piped = await status();
  const asked = await status("--json", "--bootloader", "grub", "--boot", join(sysroot, "boot"));
  expect(piped).toEqual({ status: 0, stdout: asked.stdout, stderr: WARNING });
  expect(piped.stdout.endsWith("}\n")).toBe(true);
  expect(JSON.parse(piped.stdout)).toMatchObject({
    apiVersion: "org.containers.bootc/v1",
    status: { booted: null, otherDeployments: [{ composefs: { verity: id, bootloader: "grub" } }] },
  });
});

it("is empty where no deployment runs", async () => {
  const { status: code, stdout } = await run(["deploy", "status", "--format", "humanreadable"], {
    env: { container: "oci" },
  });
  expect([code, stdout]).toEqual([0, "System is not deployed via bootc.\n"]);
});

it("shows what runs in its place, when it is said", async () => {
  const human = ["--format", "humanreadable", "--quiet"];
  const given = await run(["deploy", "status", "--root", sysroot, "--booted", id, ...human]);
  expect(given.stdout).toMatch(/^● Booted image: /);
  const file = (name: string, text: string) => {
    writeFileSync(join(sysroot, name), text);
    return join(sysroot, name);
  };
  const files = [
    "--proc-cmdline",
    file("cmdline", `composefs=${id}`),
    "--mountinfo",
    file("mountinfo", `22 1 0:30 / / rw - overlay composefs:${id} rw\n`),
  ];
  expect((await status(...human, ...files)).stdout).toBe(given.stdout);
});

it("says what is missing", async () => {
  const none = await run(["deploy", "status", "--offline"]);
  expect([none.status, none.stderr]).toEqual([
    2,
    "composefs: offline the sysroot must be named\nhint: say with --sysroot which directory holds composefs and state\n",
  ]);
  const unknown = await run(["deploy", "status", "--sysroot", join(sysroot, "state")]);
  expect(unknown.status).toBe(1);
  expect(unknown.stderr).toContain("hint: say it with --bootloader");
  const asJson = await run(["deploy", "status", "--sysroot", join(sysroot, "state"), "--json", "--progress", "json"]);
  expect(JSON.parse(asJson.stderr)).toMatchObject({ type: "error", code: "not-found", reason: "E_BOOTLOADER_UNKNOWN" });
  const esp = await status("--bootloader", "systemd");
  expect([esp.status, esp.stderr]).toEqual([
    1,
    "composefs: systemd has its entries in the ESP, and no ESP was given\nhint: say with --esp where it is mounted\n",
  ]);
});

it("prints YAML, and the booted deployment alone", async () => {
  const yaml = await status("--format", "yaml", "--booted", id, "--quiet");
  expect(yaml.stdout).toContain(`  booted:\n    image:\n      image:\n        image: q.x/os:1\n`);
  const alone = await status("--json", "--booted", "--quiet");
  expect(JSON.parse(alone.stdout)).toMatchObject({ status: { booted: null } });
  expect(JSON.parse(alone.stdout)).not.toHaveProperty("status.otherDeployments");
});
