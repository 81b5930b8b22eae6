// The main job through the program: a pull, and everything that can be asked afterwards.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { TestRegistry } from "../fixtures/registry.ts";
import { EXAMPLE, MKCOMPOSEFS, run, temporaryDirectory } from "./program.ts";

const { id: IMAGE_ID } = JSON.parse(readFileSync(join(EXAMPLE, "../expected.json"), "utf8")) as { id: string };
const PLATFORM = ["--platform", "linux/amd64"];
const directory = temporaryDirectory();
const repository = join(directory, "repository");
let manifest = "";
let config = "";

/** The data of a command that must succeed without a word on stderr. */
async function data(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(["--repo", repository, ...words]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

const json = async (...words: string[]) => JSON.parse(await data(...words)) as unknown;

beforeAll(async () => {
  const made = await run(["init", "--insecure", repository]);
  expect(made).toEqual({
    status: 0,
    stderr: "",
    stdout: `Initialized composefs repository at ${repository}\n  algorithm: fsverity-sha512-12\n  verity:    not required (insecure)\n`,
  });
  const pulled = await run(["--repo", repository, "oci", "pull", ...PLATFORM, `oci:${EXAMPLE}:v1`, "example:v1"]);
  expect(pulled.status).toBe(0);
  const lines = pulled.stdout.trimEnd().split("\n");
  expect(lines.map((line) => line.slice(0, 9))).toEqual([
    "manifest ",
    "config   ",
    "verity   ",
    "tagged   ",
    "objects  ",
    "image    ",
  ]);
  manifest = lines[0]?.slice(9) ?? "";
  config = lines[1]?.slice(9) ?? "";
  expect(lines[3]).toBe("tagged   example:v1");
  expect(lines[4]).toBe("objects  16 new + 0 already present objects; 117.62 KiB stored, 37.38 KiB inlined");
  expect(lines[5]).toBe(`image    ${IMAGE_ID}`);
  expect(pulled.stderr).toMatch(/^layer [0-9a-f]{12}: \d+\.\d\d KiB in \d/m);
});

describe("init", () => {
  it("says when there is a repository already", async () => {
    expect((await run(["init", "--insecure", repository])).stdout).toBe(
      `Repository already initialized at ${repository}\n`,
    );
    const ensured = await run(["init", "--ensure", "--erofs-version", "2", repository]);
    expect(ensured.stdout).toBe(`Repository already initialized at ${repository} (existing configuration preserved)\n`);
  });

  it("refuses another configuration, and a damaged wish, with one line and a hint", async () => {
    const other = await run(["init", "--insecure", "--hash", "sha256", repository]);
    expect(other.status).toBe(1);
    expect(other.stderr).toMatch(/^composefs: .*already.*\n(hint: .*\n)?$/i);
  });

  it("is JSON when wanted", async () => {
    const path = join(directory, "another");
    const { stdout } = await run(["init", "--json", "--insecure", "--hash", "sha256", "--erofs-version", "2", path]);
    expect(JSON.parse(stdout)).toEqual({
      path,
      state: "created",
      algorithm: "fsverity-sha256-12",
      secure: false,
      erofs_formats: [2],
    });
  });
});

describe("oci pull", () => {
  it("is JSON when wanted, and finds everything there the second time", async () => {
    const { status, stdout, stderr } = await run([
      "oci",
      "pull",
      `oci:${EXAMPLE}:v1`,
      "example:v1",
      ...PLATFORM,
      "--json",
      "--progress=json",
      "--repo",
      repository,
    ]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      manifest,
      source_manifest: null,
      config,
      verity: expect.stringMatching(/^[0-9a-f]{128}$/),
      tag: "example:v1",
      is_container: true,
      images: [{ format: 1, id: IMAGE_ID }],
      boot_images: [],
      statistics: {
        objects_new: 0,
        objects_present: 0,
        bytes_stored: 0,
        bytes_inlined: 0,
        objects_reflinked: 0,
        bytes_reflinked: 0,
        objects_hardlinked: 0,
        bytes_hardlinked: 0,
        layers_imported: 0,
        layers_skipped: 3,
        bytes_spared: 0,
      },
    });
    const events = stderr
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; skipped?: boolean });
    expect(events.filter((event) => event.type === "done" && event.skipped === true).length).toBeGreaterThanOrEqual(3);
  });

  it("writes the digest file, and is quiet when told", async () => {
    const file = join(directory, "digest");
    const quiet = await run([
      "--quiet",
      "oci",
      "pull",
      "--digest-file",
      file,
      ...PLATFORM,
      `oci:${EXAMPLE}:v1`,
      "other",
      "--repo",
      repository,
    ]);
    expect(quiet).toMatchObject({ status: 0, stderr: "" });
    expect(readFileSync(file, "utf8")).toBe(`${manifest}\n`);
    await data("oci", "untag", "other");
  });

  it("makes the user's default repository, says so, and finds it again", async () => {
    const home = join(directory, "home");
    mkdirSync(home);
    const pulled = await run(["oci", "pull", "--user", ...PLATFORM, `oci:${EXAMPLE}:v1`], { env: { HOME: home } });
    expect(pulled.stderr).toContain(`made the repository ${home}/.var/lib/composefs (sha512, with`);
    expect(pulled.status).toBe(0);
    expect(pulled.stdout).toContain(`tagged   oci:${EXAMPLE}:v1\n`);
    const listed = await run(["oci", "images", "--user", "--json"], { env: { HOME: home } });
    expect(JSON.parse(listed.stdout)).toMatchObject({ images: [{ name: `oci:${EXAMPLE}:v1` }] });
    const again = await run(["oci", "pull", "--user", ...PLATFORM, `oci:${EXAMPLE}:v1`], { env: { HOME: home } });
    expect(again.stderr).not.toContain("made the repository");
  });

  it.skipIf(existsSync("/sysroot/composefs"))("needs no option at all", async () => {
    const home = join(directory, "home-without-option");
    mkdirSync(home);
    const pulled = await run(["oci", "pull", ...PLATFORM, `oci:${EXAMPLE}:v1`, "x"], { env: { HOME: home } });
    expect(pulled).toMatchObject({ status: 0 });
    expect((await run(["oci", "compute-id", "x"], { env: { HOME: home } })).stdout).toBe(`${IMAGE_ID}\n`);
  });

  it("a wrong reference makes no repository", async () => {
    const home = join(directory, "home-untouched");
    mkdirSync(home);
    const { status } = await run(["oci", "pull", "bogus"], { env: { HOME: home } });
    expect(status).not.toBe(0);
    // The runtime itself may keep a cache there.
    expect(existsSync(join(home, ".var"))).toBe(false);
  });
});

describe("asking", () => {
  it("oci images", async () => {
    expect(await data("oci", "images")).toBe(
      `NAME        DIGEST        ARCH   LAYERS  REFS\nexample:v1  ${manifest.slice(7, 19)}  amd64  3       0\n`,
    );
    expect(await data("oci", "images", "--no-trunc")).toContain(manifest);
    expect(await json("oci", "images", "--json")).toEqual({
      images: [
        {
          name: "example:v1",
          manifest_digest: manifest,
          is_container: true,
          architecture: "amd64",
          os: "linux",
          created: "2025-03-01T00:00:00.000Z",
          layer_count: 3,
          referrer_count: 0,
        },
      ],
    });
  });

  it("images points to oci images", async () => {
    const { stdout, stderr, status } = await run(["images", "--repo", repository]);
    expect({ stdout, status }).toEqual({ stdout: "No images found\n", status: 0 });
    expect(stderr).toContain("composefs oci images");
    expect(await json("list-images", "--json")).toEqual({ images: [] });
  });

  it("oci inspect, in every spelling", async () => {
    const inspected = (await json("oci", "inspect", "example:v1")) as Record<string, unknown>;
    expect(inspected).toMatchObject({ referrers: [], composefs_erofs: IMAGE_ID, composefs_boot_erofs: null });
    expect(JSON.parse(inspected["config"] as string)).toMatchObject({ architecture: "amd64" });
    for (const name of [manifest, `@${manifest}`, `example:v1@${manifest}`]) {
      expect(await json("oci", "inspect", name)).toEqual(inspected);
    }
    expect(await data("oci", "inspect", "--manifest", "example:v1")).toBe(`${inspected["manifest"] as string}\n`);
    expect(await data("oci", "inspect", "--config", "example:v1")).toBe(`${inspected["config"] as string}\n`);
    expect((await run(["oci", "inspect", "--manifest", "--config", "x", "--repo", repository])).status).toBe(2);
  });

  it("oci dump and oci compute-id, and mkcomposefs agrees", async () => {
    const dump = await data("oci", "dump", "example:v1");
    expect(dump.split("\n")[0]).toBe("/ 0 40755 9 0 0 0 1735689600.0 - - -");
    expect(dump).not.toContain("motd");
    expect(await json("oci", "dump", "--json", "example:v1")).toEqual({
      image: "example:v1",
      lines: dump.trimEnd().split("\n"),
    });
    expect(await data("oci", "compute-id", "example:v1")).toBe(`${IMAGE_ID}\n`);
    expect(await data("oci", "compute-id", `@${config}`)).toBe(`${IMAGE_ID}\n`);
    expect(await json("oci", "compute-id", "--json", "example:v1")).toMatchObject({ id: IMAGE_ID, format: 1 });
    const other = await data("oci", "compute-id", "--erofs-version", "2", "example:v1");
    expect(other).not.toBe(`${IMAGE_ID}\n`);
    expect(await data("oci", "dump", "--xattrs", "keep-user-xattrs", "example:v1")).toContain("user.origin=example");
    // mkcomposefs reads SHA-256 dumps only, as the C tool.
    const sha256 = join(directory, "sha256");
    await run(["init", "--insecure", "--hash", "sha256", sha256]);
    await run(["--repo", sha256, "oci", "pull", ...PLATFORM, `oci:${EXAMPLE}:v1`, "x"]);
    const text = (await run(["--repo", sha256, "oci", "dump", "x"])).stdout;
    const made = await run(["--from-file", "-", "--print-digest-only", "--min-version=1"], {
      program: MKCOMPOSEFS,
      input: text,
    });
    expect(made.stdout).toBe((await run(["--repo", sha256, "oci", "compute-id", "x"])).stdout);
  });

  it("cat gives the documents back", async () => {
    const stored = readFileSync(join(EXAMPLE, "blobs/sha256", manifest.slice(7)), "utf8");
    expect(await data("cat", `oci-manifest-${manifest}`)).toBe(stored);
    expect(await data("cat", "refs/oci/example:v1")).toBe(stored);
    expect(await json("cat", "--json", "refs/oci/example:v1")).toEqual({
      name: "refs/oci/example:v1",
      size: stored.length,
      base64: Buffer.from(stored).toString("base64"),
    });
  });

  it("image-objects, sorted and complete", async () => {
    const objects = (await data("image-objects", `sha512:${IMAGE_ID}`)).trimEnd().split("\n");
    expect(objects.length).toBe(12);
    expect(objects).toEqual(objects.toSorted());
    const dump = await data("oci", "dump", "example:v1");
    for (const object of objects) {
      expect(dump).toContain(object.slice(7));
      expect(existsSync(join(repository, "objects", object.slice(7, 9), object.slice(9)))).toBe(true);
    }
    expect(await json("image-objects", IMAGE_ID.slice(0, 12), "--json")).toEqual({
      image: IMAGE_ID.slice(0, 12),
      objects,
    });
  });

  it("oci layer gives the archive, its entries, and facts", async () => {
    const { rootfs } = JSON.parse(await data("oci", "inspect", "--config", "example:v1")) as {
      rootfs: { diff_ids: string[] };
    };
    const plain = rootfs.diff_ids[2] ?? "";
    const blob = readFileSync(join(EXAMPLE, "blobs/sha256", plain.slice(7)));
    expect(await data("oci", "layer", plain)).toBe(blob.toString("utf8"));
    const lines = (await data("oci", "layer", "--dumpfile", plain)).trimEnd().split("\n");
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^\/etc\/\.wh\.motd 0 100644 1 /);
    expect(await json("oci", "layer", "--json", plain)).toMatchObject({
      diffId: plain,
      size: blob.length,
      entryCount: 6,
      splitstream: { externalObjects: 2, externalSize: 27_200, inlineSize: blob.length - 27_200 },
    });
    expect((await run(["oci", "layer", "--json", "--dumpfile", plain, "--repo", repository])).status).toBe(2);
  });

  it("measure-file", async () => {
    const file = join(directory, "hello");
    writeFileSync(file, "hello world");
    const sha256 = "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64";
    expect(await data("measure-file", file, file)).toBe(`${sha256}\n${sha256}\n`);
    expect(await json("measure-file", "--json", file)).toEqual({
      files: [{ path: file, algorithm: "sha256", digest: sha256, size: 11 }],
    });
    expect(await data("measure-file", "--hash", "sha512", file)).toMatch(/^[0-9a-f]{128}\n$/);
    const missing = await run(["measure-file", join(directory, "nothing")]);
    expect(missing).toMatchObject({ status: 1, stdout: "" });
    expect(missing.stderr).toBe(`composefs: opening ${join(directory, "nothing")}: no such file or directory\n`);
  });
});

describe("changing", () => {
  it("oci tag and untag", async () => {
    expect(await data("oci", "tag", manifest, "1.10")).toBe(`Tagged ${manifest} as 1.10\n`);
    expect(await json("oci", "tag", `@${manifest}`, "a/b%", "--json")).toEqual({ manifest, tag: "a/b%" });
    expect(readdirSync(join(repository, "streams/refs/oci")).toSorted()).toEqual(["1.10", "a%2Fb%25", "example:v1"]);
    expect(await data("oci", "untag", "1.10")).toBe("Removed tag 1.10\n");
    expect(await json("oci", "untag", "a/b%", "--json")).toEqual({ removed: "a/b%" });
  });

  it("oci copy, into another algorithm", async () => {
    const to = join(directory, "copy");
    await run(["init", "--insecure", "--hash", "sha256", to]);
    const copied = await run(["oci", "copy", "example:v1", "--from", repository, "--repo", to]);
    expect(copied.status).toBe(0);
    const lines = copied.stdout.trimEnd().split("\n");
    expect(lines[0]).toBe(`Copied image example:v1 from ${repository} to destination repo, tagged as example:v1`);
    expect(lines[1]).toBe(`Manifest digest: ${manifest}`);
    expect(lines[3]).toBe(`Config digest:   ${config}`);
    const named = await run([
      "oci",
      "copy",
      "example:v1",
      "--from",
      repository,
      "--name",
      "2.50",
      "--json",
      "--repo",
      to,
    ]);
    expect(JSON.parse(named.stdout)).toMatchObject({ manifest, config, tag: "2.50" });
    const { stdout } = await run(["--repo", to, "oci", "compute-id", "2.50"]);
    expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
  });

  it("oci copy, out of the repository", async () => {
    const from = join(directory, "kept");
    await run(["init", "--insecure", from]);
    const kept = await run([
      "oci",
      "pull",
      "--keep-compressed",
      ...PLATFORM,
      `oci:${EXAMPLE}:v1`,
      "os:v1",
      "--repo",
      from,
      "--json",
    ]);
    expect(JSON.parse(kept.stdout)).toMatchObject({ manifest });
    await using registry = await TestRegistry.start();
    const where = `docker://${registry.host}/project/os:v1`;
    const digestFile = join(directory, "pushed-digest");
    const copy = (...words: string[]) => run(["oci", "copy", "os:v1", ...words, "--repo", from]);
    const pushed = await copy(where, "--tls-verify=false", "--digest-file", digestFile);
    expect(pushed).toMatchObject({
      status: 0,
      stdout: `Copied image os:v1 to ${where}\nManifest digest: ${manifest}\nConfig digest:   ${config}\n`,
    });
    expect(readFileSync(digestFile, "utf8")).toBe(`${manifest}\n`);
    const again = await run(["oci", "pull", where, "again", "--tls-verify=false", "--repo", from, "--json"]);
    expect(JSON.parse(again.stdout)).toMatchObject({ manifest, statistics: { layers_imported: 0 } });
    const archive = `oci-archive:${join(directory, "copied.tar")}:v1`;
    const archived = await copy(archive, "--json");
    expect(JSON.parse(archived.stdout)).toMatchObject({ manifest, config, is_original: true, destination: archive });
    const plain = await copy(`oci:${join(directory, "plain")}:v1`, "--uncompressed", "--json");
    const { manifest: other, is_original: isOriginal } = JSON.parse(plain.stdout) as Record<string, unknown>;
    expect(isOriginal).toBe(false);
    expect(other).not.toBe(manifest);
    expect(plain.stderr).toContain("--keep-compressed");
    const wrong = await copy(`dir:${directory}/out`);
    expect(wrong).toMatchObject({ status: 2, stdout: "" });
    expect(wrong.stderr).toContain("skopeo copy");
    expect(await copy(where, "--name", "x")).toMatchObject({ status: 2 });
    expect(await copy("--uncompressed", "--from", from)).toMatchObject({ status: 2 });
  });

  it("oci import-layer verifies what it reads", async () => {
    const tar = execFileSync("tar", ["-C", directory, "-c", "hello"]);
    const diffId = `sha256:${execFileSync("sha256sum", { input: tar }).toString().slice(0, 64)}`;
    const wrong = await run(["oci", "import-layer", `sha256:${"0".repeat(64)}`, "--repo", repository], { input: tar });
    expect(wrong).toMatchObject({ status: 1, stdout: "" });
    expect(wrong.stderr).toMatch(/^composefs: .*\n(hint: .*\n)?$/);
    const right = await run(["oci", "import-layer", diffId, "mine", "--repo", repository], { input: tar });
    expect(right).toMatchObject({ status: 0, stdout: expect.stringMatching(/^sha512:[0-9a-f]{128}\n$/) });
    const again = await run(["oci", "import-layer", diffId, "--json", "--repo", repository], { input: "" });
    expect(JSON.parse(again.stdout)).toEqual({
      diff_id: diffId,
      verity: right.stdout.slice(7).trim(),
      already_present: true,
    });
  });
});
