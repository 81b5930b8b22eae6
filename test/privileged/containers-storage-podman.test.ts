// Stores that podman makes and changes (docs/spec/containers-storage.md, sections 9 and 12): root's, imported while podman builds and
// removes images beside it; a user's, found by his configuration, with files that he himself may not read.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { pull } from "../../src/oci/pull.ts";
import type { PullResult } from "../../src/oci/pull-options.ts";
import { ContainersStorageSource } from "../../src/oci/source/containers-storage/source.ts";
import { Repository } from "../../src/repository/repository.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { describeWithPeers, peer, peerOutput, remedyFor, skipOrFail } from "../peer.ts";
import { asUser, CONTENT_OBJECTS, makeImage, podman, type PodmanPlace, type Ran, storeIn } from "./podman-stores.ts";
import { describeMounts } from "./privileges.ts";

/** A user with subordinate ids; .ci/run makes him. */
const USER = process.env["COMPOSEFS_ROOTLESS_USER"] ?? "composefs-ci";
const project = fileURLToPath(new URL("../..", import.meta.url));

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-podman-"));
  chmodSync(work, 0o755);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

function fetch(repository: Repository, reference: string, root?: string): Promise<PullResult> {
  return pull(repository, `containers-storage:${reference}`, { tag: "os", storage: { root } });
}

const missing = remedyFor(["podman", "skopeo"]);
if (missing !== undefined) describe("podman's stores", () => skipOrFail(missing));
else describeMounts("root's store", rootStore);

function rootStore(): void {
  let place: PodmanPlace;
  let folder: string;
  let store: string;
  beforeAll(() => {
    folder = join(work, "root");
    mkdirSync(folder);
    place = storeIn(folder);
    store = join(folder, "store");
    makeImage(place, folder);
  });
  afterAll(() => {
    spawnSync("umount", ["-R", join(store, "overlay")]);
  });

  it("gives what skopeo writes as a layout, under every name of the image", async () => {
    const layout = join(folder, "layout");
    peerOutput("skopeo", [
      "copy",
      "-q",
      "--insecure-policy",
      `containers-storage:[overlay@${store}+${join(folder, "run")}]localhost/os:1`,
      `oci:${layout}:v1`,
    ]);
    await using expected = await newRepository();
    const { images, configDigest } = await pull(expected, `oci:${layout}:v1`, { tag: "os" });
    const id = podman(place, ["image", "inspect", "-f", "{{.Id}}", "os:1"]);
    const digest = podman(place, ["image", "inspect", "-f", "{{.Digest}}", "os:1"]);
    await using repository = await newRepository();
    const references = ["os:1", "localhost/os:1", id, `sha256:${id}`, id.slice(0, 12), digest, `os@${digest}`];
    for (const name of references) {
      const result = await fetch(repository, name, store);
      expect([name, result.images, result.configDigest, result.manifestDigest]).toEqual([
        name,
        images,
        configDigest,
        digest,
      ]);
    }
    const bracket = `[overlay@${store}+${join(folder, "run")}]localhost/os:1`;
    expect((await fetch(repository, bracket)).images).toEqual(images);
    expect(auditRepository(repository.path).problems).toEqual([]);
  });

  it("waits for podman, and podman for it", async () => {
    // A layer that is being read cannot be removed: podman waits for the lock.
    await using source = await ContainersStorageSource.open("os:1", { root: store });
    await source.resolve();
    const { rootfs } = JSON.parse(readConfig(place)) as { rootfs: { diff_ids: string[] } };
    const layer = await source.unpackedLayer(rootfs.diff_ids[0] as string);
    const pieces = layer.pieces()[Symbol.asyncIterator]();
    expect((await pieces.next()).done).toBe(false);
    const context = join(folder, "context-lock");
    mkdirSync(context);
    writeFileSync(join(context, "Containerfile"), "FROM scratch\nCOPY file /usr/file\n");
    writeFileSync(join(context, "file"), "x".repeat(1000));
    let ended = false;
    const builder = spawn(peer("podman"), [
      ...place.words,
      "build",
      "-q",
      "--isolation",
      "chroot",
      "-t",
      "l:1",
      context,
    ]);
    const end = new Promise<number | null>((resolve) => builder.once("close", resolve));
    void end.then(() => (ended = true));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(ended).toBe(false);
    await pieces.return?.();
    expect(await end).toBe(0);
  });

  it("is imported while podman builds and removes images beside it", async () => {
    await using reference = await newRepository();
    const expected = await fetch(reference, "localhost/os:1", store);
    const context = join(folder, "context-beside");
    mkdirSync(context);
    writeFileSync(join(context, "Containerfile"), "FROM localhost/base:1\nCOPY file /usr/file\n");
    const script = `for i in $(seq 6); do echo $i > file; "$@" build -q --isolation chroot --pull=never -t beside:1 . && "$@" rmi -f beside:1; done`;
    const beside = spawn("sh", ["-c", script, "sh", peer("podman"), ...place.words], { cwd: context, stdio: "pipe" });
    const state = { running: true };
    const end = new Promise<number | null>((resolve) => beside.once("close", resolve));
    void end.then(() => (state.running = false));
    const outcomes: string[] = [];
    while (state.running) {
      await using repository = await newRepository();
      // The image that stays is always had; the one that comes and goes is had whole, or refused.
      expect((await fetch(repository, "localhost/os:1", store)).images).toEqual(expected.images);
      const outcome = await fetch(repository, "localhost/beside:1", store).then(
        () => "imported",
        (error: unknown) => (error instanceof ComposefsError ? String(error.reason) : String(error)),
      );
      outcomes.push(outcome);
      expect(auditRepository(repository.path)).toMatchObject({ problems: [], temporary: [] });
    }
    expect(await end).toBe(0);
    expect(outcomes.length).toBeGreaterThan(3);
    const allowed = new Set(["imported", "no-image", "vanished", "no-manifest", "no-config", "layer-missing"]);
    expect(outcomes.filter((outcome) => !allowed.has(outcome))).toEqual([]);
  });
}

function readConfig(place: PodmanPlace): string {
  const id = podman(place, ["image", "inspect", "-f", "{{.Id}}", "os:1"]);
  const root = place.words[1] as string;
  const name = `=${Buffer.from(`sha256:${id}`).toString("base64")}`;
  return readFileSync(join(root, "overlay-images", id, name), "utf8");
}

/** Why there cannot be a rootless store here. */
function rootlessObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "becoming another user needs root";
  const { status } = spawnSync("id", [USER]);
  if (status !== 0)
    return `there is no user ${USER} with subordinate ids: apt-get install uidmap, then useradd -m ${USER}`;
  if (!existsSync("/etc/subuid") || !readFileSync("/etc/subuid", "latin1").includes(`${USER}:`)) {
    return `the user ${USER} has no subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${USER}`;
  }
  return ["newuidmap", "runuser"].find((name) => spawnSync("sh", ["-c", `command -v ${name}`]).status !== 0) ===
    undefined
    ? undefined
    : "newuidmap is missing: apt-get install uidmap";
}

describeWithPeers(["podman"], "a user's store", () => {
  const obstacle = rootlessObstacle();
  if (obstacle === undefined) describeMounts("in his home", userStore);
  else skipOrFail(obstacle);
});

function userStore(): void {
  let place: Required<PodmanPlace>;
  let folder: string;
  let program: string[];

  beforeAll(() => {
    folder = join(work, "user");
    const home = join(folder, "home");
    const runtime = join(folder, "runtime");
    mkdirSync(join(home, ".config/containers"), { recursive: true });
    mkdirSync(runtime);
    // podman chooses vfs for users by itself; the store is at a place that only this file names.
    writeFileSync(
      join(home, ".config/containers/storage.conf"),
      `[storage]\ndriver = "overlay"\ngraphroot = "${home}/my-store"\n`,
    );
    const [uid, gid] = ["-u", "-g"].map((option) => Number(peerId(option)));
    for (const path of [folder, home, `${home}/.config`, `${home}/.config/containers`, runtime]) {
      chownSync(path, uid as number, gid as number);
    }
    place = { words: [], user: { name: USER, home, runtime } };
    makeImage(place, folder);
    program = installFor(join(folder, "program"));
  });
  afterAll(() => {
    asUser(place, [peer("podman"), "unshare", "rm", "-rf", `${place.user.home}/my-store`]);
    const pause = join(place.user.runtime, "libpod/tmp/pause.pid");
    if (existsSync(pause)) process.kill(Number(readFileSync(pause, "utf8")));
  });

  const composefs = (words: readonly string[], before: readonly string[] = []): Ran =>
    asUser(place, [...before, ...program, "--repo", join(folder, `repository-${count}`), ...words], folder);

  function imported(words: readonly string[] = [], before: readonly string[] = []): { id: string; text: string } {
    count++;
    expect(composefs(["init", "--insecure"], before)).toMatchObject({ status: 0 });
    const { status, stdout, stderr } = composefs(["oci", "pull", ...words, "containers-storage:os:1", "os"], before);
    expect(stderr).not.toContain("error");
    expect(status, stderr).toBe(0);
    return { id: /^image +(\w+)$/m.exec(stdout)?.[1] as string, text: stdout };
  }

  it("is imported by the user, with what he may not read", async () => {
    const root = `${place.user.home}/my-store`;
    await using repository = await newRepository();
    const expected = await fetch(repository, "os:1", root);
    expect(expected.stats.newObjects).toBe(CONTENT_OBJECTS);
    const { id, text } = imported();
    expect(id).toBe(expected.images[0]?.id);
    expect(text).toContain(`objects  ${CONTENT_OBJECTS} new + 0 already`);
    expect(imported(["--storage-root", root]).id).toBe(id);
    expect(imported([], [peer("podman"), "unshare"]).id).toBe(id);
    // The helper has ended with the command.
    expect(spawnSync("pgrep", ["-u", USER, "-f", "diff-files-worker"]).status).toBe(1);
  });

  it("says what helps when there is no helper", () => {
    count++;
    expect(composefs(["init", "--insecure"])).toMatchObject({ status: 0 });
    const { status, stderr } = composefs(["oci", "pull", "containers-storage:os:1", "os"], ["env", "PATH=/nowhere"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/the file "etc\/shadow" cannot be read/);
    expect(stderr).toMatch(/neither podman nor unshare is installed/);
    expect(stderr).toMatch(/^hint: .*podman unshare composefs/m);
  });

  it("cannot be had without copies where a helper reads", () => {
    count++;
    expect(composefs(["init", "--insecure"])).toMatchObject({ status: 0 });
    const words = ["oci", "pull", "--local-fetch", "zerocopy", "containers-storage:os:1", "os"];
    const { status, stderr } = composefs(words);
    expect([status, stderr]).toEqual([1, expect.stringContaining("can only be copied into the repository")]);
  });
}

function peerId(option: string): string {
  return spawnSync("id", [option, USER], { encoding: "utf8" }).stdout.trim();
}

/** The program at a place that every user can read, and the words that run it. */
function installFor(folder: string): string[] {
  mkdirSync(folder);
  cpSync(join(project, "dist"), join(folder, "dist"), { recursive: true });
  cpSync(join(project, "package.json"), join(folder, "package.json"));
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
    dependencies: object;
    optionalDependencies: object;
  };
  const modules = join(project, "node_modules");
  for (const name of [...Object.keys(dependencies), ...Object.keys(optionalDependencies), "@koromix"]) {
    if (existsSync(join(modules, name))) {
      cpSync(join(modules, name), join(folder, "node_modules", name), { recursive: true, dereference: true });
    }
  }
  cpSync(process.execPath, join(folder, "node"));
  return [join(folder, "node"), join(folder, "dist/cli/main.js")];
}
