// What somebody sees who pulls, line by line of the table in docs/spec/cli-cfsctl.md, section 13.2. The rest of it is in other files:
// unknown transports, directories without layout, unknown tags and `@` names in failures.test.ts, Ctrl-C in signals.test.ts, lines that are no
// terminal's in progress.test.ts and pull.test.ts, container stores and full file systems in suites of their own.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { writeLayout } from "../fixtures/layout.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { tar } from "../fixtures/tar.ts";
import { sampleImage, sampleLayer, sha256 } from "../oci/source/conformance/sample.ts";
import { TRANSPORTS } from "../oci/source/conformance/transports.ts";
import { type Finished, run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
let count = 0;

async function newRepository(): Promise<string> {
  const path = join(directory, `repository-${count++}`);
  expect((await run(["init", "--insecure", path])).status).toBe(0);
  return path;
}

const pull = (repository: string, ...words: string[]): Promise<Finished> =>
  run(["oci", "pull", "--repo", repository, ...words]);

function expectUnchanged(repository: string): void {
  expect(auditRepository(repository)).toMatchObject({ problems: [], temporary: [], tags: [], streams: [], images: [] });
}

const layer = (...entries: Parameters<typeof tar>[0] extends Iterable<infer E> ? E[] : never) =>
  ({ tar: tar(entries), compression: "gzip" }) as const;
const usr = layer({ path: "usr", type: "directory" }, { path: "usr/file", content: Buffer.alloc(500, "x") });

let layout: string;
beforeAll(() => {
  layout = join(directory, "layout");
  writeLayout(layout, "v1", [usr]);
});

/** Adds an image to a layout. */
function addImage(folder: string, tag: string): void {
  const path = join(folder, "index.json");
  const read = () => JSON.parse(readFileSync(path, "utf8")) as { manifests: object[] };
  const before = read();
  writeLayout(folder, tag, [layer({ path: "usr", type: "directory", mode: 0o700 })]);
  writeFileSync(path, JSON.stringify({ ...before, manifests: [...before.manifests, ...read().manifests] }));
}

it("several images and no tag: lists the tags", async () => {
  const folder = join(directory, "several");
  writeLayout(folder, "v1", [usr]);
  addImage(folder, "v2");
  const repository = await newRepository();
  const { status, stderr } = await pull(repository, `oci:${folder}`);
  expect(status).toBe(1);
  expect(stderr).toMatch(/holds several images: v1, v2\nhint: name one of them/);
  expectUnchanged(repository);
  expect((await pull(repository, `oci:${folder}:v2`)).status).toBe(0);
});

it("oci:DIR:NAME:TAG: splits at the colon behind the layout", async () => {
  const folder = join(directory, "named");
  writeLayout(folder, "localhost/os:v1", [usr]);
  const { status, stdout } = await pull(await newRepository(), `oci:${folder}:localhost/os:v1`, "os");
  expect(status).toBe(0);
  expect(stdout).toContain("tagged   os\n");
});

it("an image without /usr: named, with what it lacks, nothing kept", async () => {
  const folder = join(directory, "no-usr");
  writeLayout(folder, "v1", [layer({ path: "etc", type: "directory" })]);
  const repository = await newRepository();
  const { status, stderr } = await pull(repository, `oci:${folder}:v1`);
  expect(status).toBe(1);
  expect(stderr.split("\n").find((line) => line.startsWith("composefs:"))).toMatch(/no-usr:v1.*\busr\b/);
  expectUnchanged(repository);
});

it("--bootable without /boot: says that the image was pulled, and the boot image not", async () => {
  const repository = await newRepository();
  const { status, stdout, stderr } = await pull(repository, "--bootable", `oci:${layout}:v1`, "os");
  expect(status).toBe(1);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/composefs: the image was pulled and tagged os, but has no boot image: .*\/boot/);
  expect(auditRepository(repository)).toMatchObject({ problems: [], tags: ["os"] });
});

it("--expected-digest abc: says how many digits it needs", async () => {
  const repository = await newRepository();
  const { status, stderr } = await pull(repository, "--bootable", "--expected-digest", "abc", `oci:${layout}:v1`);
  expect(status).toBe(1);
  expect(stderr).toMatch(/"abc" is not the digest of an image\nhint: .*128 hex digits/);
  expectUnchanged(repository);
});

it("an empty NAME: refused first", async () => {
  const repository = await newRepository();
  const { status, stderr } = await pull(repository, `oci:${layout}:v1`, "");
  expect(status).toBeOneOf([1, 2]);
  expect(stderr).toMatch(/^composefs: /);
  expect(readdirSync(join(repository)).filter((name) => name === "objects" || name === "streams")).toEqual([]);
});

it("a second identical pull: the same words, and not one object more", async () => {
  const repository = await newRepository();
  const verity = ({ stdout }: Finished) => /^verity {3}(.*)$/m.exec(stdout)?.[1];
  const first = await pull(repository, `oci:${layout}:v1`, "os");
  const { objects } = auditRepository(repository);
  const second = await pull(repository, `oci:${layout}:v1`, "os");
  expect(verity(second)).toBe(verity(first));
  expect(second.stdout).toContain("objects  0 new + 0 already present objects");
  expect(second.stderr).toMatch(/already present/);
  expect(auditRepository(repository).objects).toBe(objects);
});

it("two pulls at once: both succeed, nothing is left over", async () => {
  const repository = await newRepository();
  const both = await Promise.all([
    pull(repository, `oci:${layout}:v1`, "one"),
    pull(repository, `oci:${layout}:v1`, "two"),
  ]);
  expect(both.map(({ status }) => status)).toEqual([0, 0]);
  const { problems, temporary, tags } = auditRepository(repository);
  expect({ problems, temporary, tags }).toEqual({ problems: [], temporary: [], tags: ["one", "two"] });
  const collected = await run(["gc", "--repo", repository, "--json"]);
  expect(JSON.parse(collected.stdout)).toMatchObject({ objects_removed: 0 });
});

it("an image in Docker's format: an image like any other", async () => {
  const docker = sampleImage([sampleLayer(usr.tar, "application/vnd.docker.image.rootfs.diff.tar.gzip")], {
    docker: true,
  });
  await using presented = await TRANSPORTS[0]?.present([docker], join(directory, "docker"));
  const repository = await newRepository();
  const words = ["--platform", "linux/amd64", "--json", presented?.reference ?? "", "os"];
  const { status, stdout } = await pull(repository, ...words);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ is_container: true, source_manifest: sha256(docker.manifest) });
  expect((await run(["oci", "images", "--repo", repository])).stdout).toContain("amd64");
});

it("no engine for docker-daemon: says where it was looked for, and what to do without", async () => {
  const repository = await newRepository();
  const env = { DOCKER_HOST: `unix://${directory}/none.sock` };
  const { status, stderr } = await run(["oci", "pull", "--repo", repository, "docker-daemon:os:v1"], { env });
  expect(status).toBe(1);
  expect(stderr).toMatch(/composefs: cannot reach the Docker engine at .*none\.sock: .*\nhint: .*docker save/);
  expectUnchanged(repository);
});
