// `composefs explain`: its answers, exit statuses and JSON, on images, directories and dumps.

import { mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EXAMPLE, run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const repo = at("repo");
const explain = async (...words: string[]) => run(["--repo", repo, "explain", ...words], { cwd: directory });
const good = async (...words: string[]) => {
  const { status, stdout, stderr } = await run(["--repo", repo, ...words], { cwd: directory });
  expect({ words, status, stderr: status === 0 ? "" : stderr }).toEqual({ words, status: 0, stderr: "" });
  return stdout.trim();
};

beforeAll(async () => {
  await good("init", "--insecure", "--algorithm", "fsverity-sha256-12");
  await good("oci", "pull", "--platform", "linux/amd64", `oci:${EXAMPLE}:v1`, "os:v1", "--quiet");
  writeFileSync(at("os.dump"), await good("oci", "dump", "os:v1").then((text) => `${text}\n`));
  mkdirSync(at("tree/usr"), { recursive: true });
  writeFileSync(at("tree/usr/file"), "x".repeat(100));
  for (const name of ["tree/usr/file", "tree/usr", "tree"]) utimesSync(at(name), 1000, 1000);
});

describe("composefs explain", () => {
  it("says which variant a digest is of", async () => {
    for (const version of ["0", "1", "2"]) {
      const id = await good("--erofs-version", version, "oci", "compute-id", "os:v1");
      const { status, stdout } = await explain(id, "os:v1");
      expect(status).toBe(0);
      expect(stdout).toContain(`expected  ${id}  (sha256, as given)\n`);
      expect(stdout).toContain(`os:v1 has it  format ${version}, sha256, container, xattrs allowlist-only\n`);
    }
  });

  it("computes the hash that the repository does not have", async () => {
    const id = await good("--hash", "sha512", "compute-id", "tree");
    await good("--hash", "sha256", "create-image", "tree", "tree");
    expect((await explain(id, "tree")).status).toBe(0);
    expect((await explain(id, "refs/tree")).stdout).toContain("format 1, sha512");
    const { status, stdout } = await explain(id, "os.dump");
    expect([status, stdout]).toEqual([
      1,
      expect.stringContaining("not tried: sha512 (the files of os.dump have sha256 digests"),
    ]);
  });

  it("takes a command line, and names a cause that is known", async () => {
    utimesSync(at("tree/usr/file"), 1000, 1000.5);
    try {
      const truth = await good("--hash", "sha256", "--erofs-version", "1", "compute-id", "tree");
      expect((await explain(`quiet composefs.digest=v1-sha256-12:${truth}`, "tree")).status).toBe(0);
      utimesSync(at("tree/usr/file"), 1000, 1000);
      const id = await good("--hash", "sha256", "--erofs-version", "1", "compute-id", "tree");
      utimesSync(at("tree/usr/file"), 1000, 1000.5);
      const { status, stdout } = await explain(`quiet composefs.digest=v1-sha256-12:${id}`, "tree");
      expect(status).toBe(1);
      expect(stdout).toMatch(/^tree does not have it: [0-9]+ ids tried$/m);
      expect(stdout).toContain(
        "cause     it has it if all times are whole seconds (nanoseconds-dropped; format 1, sha256, container",
      );
    } finally {
      utimesSync(at("tree/usr/file"), 1000, 1000);
    }
  });

  it("compares with a tree that has the digest", async () => {
    const lines = readFileSync(at("os.dump"), "utf8").split("\n");
    const changed = lines.map((line) => line.replace(/^(\/etc\/greet.conf \S+) 100644/, "$1 100600"));
    expect(changed).not.toEqual(lines);
    writeFileSync(at("changed.dump"), changed.join("\n"));
    const id = await good("oci", "compute-id", "os:v1");
    const { status, stdout } = await explain(id, "changed.dump", "os:v1");
    expect(status).toBe(1);
    expect(stdout).toContain("os:v1 has it  format 1, sha256, container, xattrs allowlist-only\n");
    expect(stdout).toContain("cause     permissions: 1, first /etc/greet.conf (modes)\n");
    expect(stdout).toContain("~ /etc/greet.conf\n    mode: 644 -> 600\n");
    const json = JSON.parse((await explain(id, "changed.dump", "os:v1", "--json")).stdout) as {
      matches: unknown[];
      comparison: { causes: { id: string }[]; first: { path: string }; entries: unknown[] };
    };
    expect(json.matches).toEqual([]);
    expect(json.comparison.causes.map((cause) => cause.id)).toEqual(["modes"]);
    expect([json.comparison.first.path, json.comparison.entries.length]).toEqual(["/etc/greet.conf", 1]);
  });

  it("compares two trees without a digest, and prints as much as is asked for", async () => {
    const same = await explain("os:v1", "os.dump");
    expect([same.status, same.stdout]).toEqual([
      0,
      expect.stringContaining(
        "os.dump and os:v1 make the same image (container, xattrs allowlist-only), but differ as they are",
      ),
    ]);
    expect((await explain("os.dump", "os.dump")).stdout).toContain(
      "os.dump and os.dump are the same tree (as it is)\n",
    );
    const { status, stdout } = await explain("os:v1", "tree", "--limit", "1");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^\.\.\. and [0-9]+ more; --limit 0 prints all$/m);
    expect((await explain("os:v1", "tree", "--limit", "0")).stdout).not.toContain("more; --limit");
  });

  it("refuses what it cannot explain", async () => {
    for (const [words, message] of [
      [["nothing", "os:v1"], '"nothing" is nothing that names an expected digest'],
      [["0".repeat(64), "nowhere"], "nowhere is neither a path nor an image or tag"],
      [["composefs=0", "os:v1"], "64 or 128"],
      [["os:v1", "tree", "--limit", "many"], '--limit takes a number, not "many"'],
    ] as const) {
      const { status, stderr, stdout } = await explain(...words);
      expect([words, status, stdout]).toEqual([words, 2, ""]);
      expect(stderr).toContain(message);
    }
  });
});
