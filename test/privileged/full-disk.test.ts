// Results on a file system that is full: one line of error, one of remedy, exit status 1, and what was there is still there and
// nothing else. A small tmpfs, so root.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, closeSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeDiskSysroot } from "../fixtures/disk-sysroot.ts";
import { describeMounts } from "./privileges.ts";

const program = (name: string) => fileURLToPath(new URL(`../../dist/cli/${name}.js`, import.meta.url));
const run = (name: string, words: readonly string[], stdout: "pipe" | number = "pipe") =>
  spawnSync(process.execPath, [program(name), ...words], { encoding: "utf8", stdio: ["ignore", stdout, "pipe"] });

describeMounts("a full disk", () => {
  let folder: string;
  let full: string;
  let old: string;
  const at = (name: string) => join(folder, name);

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "composefs-full-"));
    full = at("full");
    mkdirSync(full);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "composefs-full", full]);
    old = join(full, "old");
    writeFileSync(old, "what was there\n");
    mkdirSync(at("tree"));
    for (let i = 0; i < 2000; i++) writeFileSync(at(`tree/${String(i).padStart(100, "0")}`), "x");
    const made = run("mkcomposefs", [at("tree"), at("tree.img")]);
    expect(made.stderr).toBe("");
  });
  afterAll(() => {
    execFileSync("umount", [full]);
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ["mkcomposefs DIR", "mkcomposefs", () => [at("tree"), old]],
    ["mkcomposefs --from-file", "mkcomposefs", () => ["--from-file", at("tree.dump"), old]],
    ["composefs-dump", "composefs-dump", () => [at("tree.img"), old]],
    [
      "create-dumpfile -o",
      "main",
      () => ["--quiet", "create-dumpfile", "--no-propagate-usr-to-root", at("tree"), "-o", old],
    ],
  ] as const)("%s", (_, name, words) => {
    if (name === "mkcomposefs") writeFileSync(at("tree.dump"), run("composefs-info", ["dump", at("tree.img")]).stdout);
    const { status, stdout, stderr } = run(name, words());
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toBe(
      `${name === "main" ? "composefs" : name}: writing ${old}: no space left on device\n` +
        "hint: free some space, or choose another place; what was there is unchanged\n",
    );
    expect(readFileSync(old, "utf8")).toBe("what was there\n");
    expect(readdirSync(full)).toEqual(["old"]);
  });

  it("deploy disk", async () => {
    const { sysroot } = await makeDiskSysroot(at("disk"));
    const { status, stdout, stderr } = run("main", ["deploy", "disk", sysroot, "--output", old, "--quiet"]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toBe(
      `composefs: writing ${old}: no space left on the file system\n` +
        "hint: free some space and run the same command again\n",
    );
    expect(readFileSync(old, "utf8")).toBe("what was there\n");
    expect(readdirSync(full)).toEqual(["old"]);
  });

  it.each([
    ["mkcomposefs to stdout", "mkcomposefs", () => [at("tree"), "-"], "writing the output"],
    ["composefs-info dump", "composefs-info", () => ["dump", at("tree.img")], "writing the output"],
    [
      "create-dumpfile",
      "main",
      () => ["--quiet", "create-dumpfile", "--no-propagate-usr-to-root", at("tree")],
      "writing the result",
    ],
  ] as const)("%s into a file there", (_, name, words, action) => {
    const target = join(full, "by-shell");
    const fd = openSync(target, "w");
    try {
      const { status, stderr } = run(name, words(), fd);
      expect(status).toBe(1);
      expect(stderr).toBe(
        `${name === "main" ? "composefs" : name}: ${action}: no space left on device\n` +
          "hint: free some space, or choose another place\n",
      );
    } finally {
      closeSync(fd);
      rmSync(target);
    }
  });

  it("a digest store that is full keeps whole objects only, and no image is made", () => {
    mkdirSync(at("large"));
    for (let i = 0; i < 8; i++) writeFileSync(at(`large/${i}`), Buffer.alloc(20_000, i + 1));
    const { status, stderr } = run("mkcomposefs", [
      `--digest-store=${join(full, "store")}`,
      at("large"),
      at("large.img"),
    ]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^mkcomposefs: .*no space left .*\n(hint: .*\n)$/);
    expect(readdirSync(folder)).not.toContain("large.img");
    const objects = readdirSync(join(full, "store"), { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    for (const object of objects) expect(object.name).toMatch(/^[0-9a-f]{62}$/);
    rmSync(join(full, "store"), { recursive: true });
  });
});
