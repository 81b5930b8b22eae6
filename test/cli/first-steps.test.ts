// The first steps of a user, and what must not pass: each row of docs/spec/cli-cfsctl.md, sections 13.1 and 13.3, that is not
// told with the command it belongs to (pull.test.ts, repository-commands.test.ts, failures.test.ts).

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { COMPOSEFS, EXAMPLE, run, RUNTIME, temporaryDirectory } from "./program.ts";

const scratch = temporaryDirectory();
const repository = join(scratch, "repository");
const at = (...words: string[]) => ["--repo", repository, ...words];
const entries = (): string[] => readdirSync(repository, { recursive: true, encoding: "utf8" }).toSorted();
let image = "";
let manifest = "";

beforeAll(async () => {
  await run(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repository]);
  const { stdout } = await run(at("--json", "oci", "pull", "--platform", "linux/amd64", `oci:${EXAMPLE}:v1`, "os:v1"));
  expect(JSON.parse(stdout)).toMatchObject({ tag: "os:v1" });
  const inspected = JSON.parse((await run(at("oci", "inspect", "os:v1"))).stdout) as { composefs_erofs: string };
  image = inspected.composefs_erofs;
  const listed = JSON.parse((await run(at("oci", "images", "--json"))).stdout) as {
    images: { manifest_digest: string }[];
  };
  manifest = listed.images[0]?.manifest_digest ?? "";
});

describe("where no repository is", () => {
  it("says how to make one, or to choose another", async () => {
    const { status, stderr } = await run(["images"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/there is no repository at .*\n.*composefs init.*--repo/);
  });

  it("a directory that is none is called by what it lacks, and left as it was", async () => {
    const folder = join(scratch, "documents");
    mkdirSync(folder);
    writeFileSync(join(folder, "letter"), "");
    const { status, stderr } = await run(["--repo", folder, "images"]);
    expect(status).toBe(1);
    expect(stderr).toContain(`${folder} is not a composefs repository`);
    expect(readdirSync(folder)).toEqual(["letter"]);
  });

  it("a reading command writes no meta.json", async () => {
    const old = join(scratch, "old");
    execFileSync("cp", ["-a", repository, old]);
    rmSync(join(old, "meta.json"));
    expect((await run(["--repo", old, "oci", "images"])).stdout).toContain("os:v1");
    expect(existsSync(join(old, "meta.json"))).toBe(false);
  });
});

describe("init", () => {
  it("again without --insecure says that the repository is insecure", async () => {
    const { status, stdout, stderr } = await run(["init", "--algorithm", "fsverity-sha256-12", repository]);
    expect(status, stderr).toBe(0);
    expect(stdout + stderr).toMatch(/insecure/);
  });
});

describe("every spelling is understood", () => {
  it("--repo after the command", async () => {
    expect((await run(["oci", "images", "--repo", repository])).stdout).toContain("os:v1");
  });

  it("an image id with the name of its hash", async () => {
    const plain = await run(at("image-objects", image));
    expect(plain.stdout.split("\n").length).toBeGreaterThan(5);
    expect(await run(at("image-objects", `sha256:${image}`))).toEqual(plain);
  });

  it.each(["", "@"])("a manifest digest with %j before it, where a name is expected", async (before) => {
    expect((await run(at("oci", "inspect", `${before}${manifest}`))).stdout).toContain(image);
    expect((await run(at("oci", "compute-id", `${before}${manifest}`))).stdout.trim()).toBe(image);
  });
});

describe("programs of the C tools", () => {
  it("take global options before their name", async () => {
    const words = ["mkcomposefs", "--from-file", "--print-digest-only", "-"];
    const input = "/ 4096 40755 2 0 0 0 1.0 - - -\n";
    const plain = await run(words, { input });
    expect(plain.stdout).toMatch(/^[0-9a-f]{64}\n$/);
    expect(await run(at(...words), { input })).toEqual(plain);
    const unknown = await run(["--rep", "x", ...words], { input });
    expect(unknown).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(/unknown option --rep/) });
  });

  it("show their help, status 0", async () => {
    const { status, stdout } = await run(["mount.composefs", "--help"]);
    expect([status, stdout.split("\n")[0]]).toEqual([0, expect.stringMatching(/^Usage: mount\.composefs /)]);
  });
});

describe("lists", () => {
  it("images hints at the OCI images when there are no others", async () => {
    const { status, stdout, stderr } = await run(at("images"));
    expect(status).toBe(0);
    expect(stdout + stderr).toMatch(/No images found\n[^]*oci images/);
  });

  it("oci images is sorted, and plain when piped", async () => {
    for (const name of ["z", "a", "m"]) expect((await run(at("oci", "tag", manifest, name))).status).toBe(0);
    const { stdout } = await run(at("oci", "images"));
    const names = stdout.split("\n").flatMap((line) => /^(a|m|os:v1|z) /.exec(line)?.[1] ?? []);
    expect(names).toEqual(["a", "m", "os:v1", "z"]);
    expect(stdout).toMatch(/^[\x20-\x7e\n]*$/);
    for (const name of ["z", "a", "m"]) await run(at("oci", "untag", name));
  });
});

// Another user has to be able to read the program, which lies where the project does.
const NOBODY = ["setpriv", "--reuid=65534", "--clear-groups"];
const canBeNobody =
  process.getuid?.() === 0 &&
  spawnSync("setpriv", [...NOBODY.slice(1), ...RUNTIME, COMPOSEFS, "--version"]).status === 0;

describe("permissions", () => {
  it.runIf(canBeNobody)("of somebody else's repository: says whose it is", () => {
    chmodSync(scratch, 0o755);
    chmodSync(repository, 0o700);
    const words = [...NOBODY.slice(1), ...RUNTIME, COMPOSEFS, ...at("oci", "images")];
    const { status, stderr } = spawnSync("setpriv", words, { encoding: "utf8", env: { ...process.env, HOME: "/" } });
    chmodSync(repository, 0o755);
    expect(status).toBe(1);
    expect(stderr).toMatch(/permission denied\n.*user with the id 0/);
  });
});

describe("what is not there or wrong is refused, and nothing of it stays", () => {
  it.each([
    ["a tag on a manifest that is not there", ["oci", "tag", `sha256:${"a".repeat(64)}`, "x"], ""],
    ["an image of any bytes", ["import-image", "x"], "these are no image"],
    ["a layer under a digest that it has not", ["oci", "import-layer", `sha256:${"a".repeat(64)}`], "\0".repeat(1024)],
    ["an extra root with a typing error", ["gc", "--root", "oci-manifest-sha256:typo"], ""],
  ])("%s", async (_, words, input) => {
    const links = () => entries().filter((name) => !name.startsWith("objects"));
    const before = links();
    const { status, stdout, stderr } = await run(at(...words), { input });
    expect(status, stdout).toBe(1);
    expect(stderr).toMatch(/^composefs: /);
    expect(links()).toEqual(before);
    expect((await run(at("fsck"))).status).toBe(0);
  });

  it("a copy without a name keeps the tag of its source", async () => {
    const other = join(scratch, "other");
    await run(["init", "--insecure", "--algorithm", "fsverity-sha256-12", other]);
    const { status, stderr } = await run(["--repo", other, "oci", "copy", "--from", repository, "os:v1"]);
    expect(status, stderr).toBe(0);
    expect((await run(["--repo", other, "gc"])).status).toBe(0);
    expect((await run(["--repo", other, "oci", "compute-id", "os:v1"])).stdout.trim()).toBe(image);
  });
});
