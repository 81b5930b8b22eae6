// `composefs uki inspect` and `composefs uki extract`, on the recorded files.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { goldensDir } from "../goldens-dir.ts";
import { run } from "./program.ts";

const work = mkdtempSync(join(tmpdir(), "uki-cli-test-"));
afterAll(() => rmSync(work, { recursive: true }));
const file = (name: string) => join(goldensDir("boot"), "uki", name);

describe("uki inspect", () => {
  it("says what is in one", async () => {
    const { status, stdout, stderr } = await run(["uki", "inspect", file("full.efi")]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("label    Golden OS 7 7\n");
    expect(stdout).toContain("\nimage    d8c795ed4b51dabd6b45f39b4549394a13893c2d29a3f7d685c16b7455751dc5\n");
    expect(stdout).toContain("\nboot     sha256:cdefa6da712458287ee682a17630679b889713ca61e45a887ece6deadfdbb41a\n");
    expect(stdout).toMatch(/\n\.initrd +120 B +8c8611037ad3\n/);
  });

  it("gives programs all of it", async () => {
    const { status, stdout } = await run(["--json", "uki", "inspect", file("addon.efi")]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "addon",
      command_line: "console=ttyS0",
      composefs: [],
      label: null,
      boot_digest: null,
      sections: [{ name: ".cmdline", size: 13 }],
    });
  });

  it.each([
    ["text-file.efi", "is not a PE file"],
    ["cmdline-not-utf8.efi", "not UTF-8"],
    ["none.efi", "no such file"],
  ])("refuses %s in words", async (name, words) => {
    const { status, stdout, stderr } = await run(["uki", "inspect", file(name)]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain(words);
    expect(stderr).toContain(name);
  });
});

describe("uki extract", () => {
  it("writes kernel and initramfs, once", async () => {
    const out = join(work, "out");
    const { status, stdout } = await run(["uki", "extract", file("full.efi"), out]);
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: `${join(out, "6.1.0-g", "vmlinuz")}\n${join(out, "6.1.0-g", "initramfs.img")}\n`,
    });
    const again = await run(["uki", "extract", file("full.efi"), out]);
    expect(again.status).toBe(1);
    expect(again.stderr).toContain("exists already");
    expect(readdirSync(out)).toEqual(["6.1.0-g"]);
  });

  it("refuses an addon", async () => {
    const { status, stderr } = await run(["uki", "extract", file("addon.efi"), join(work, "none")]);
    expect(status).toBe(1);
    expect(stderr).toContain("has no section .uname");
  });
});
