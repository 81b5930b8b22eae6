// gc, fsck and transaction as users see them (docs/spec/cli-cfsctl.md, sections 3.3, 3.4 and 13.3).

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { Repository } from "../../src/repository/repository.ts";
import { COMPOSEFS, EXAMPLE, run as runProgram, sendSignal, temporaryDirectory } from "./program.ts";

const scratch = temporaryDirectory();
let count = 0;
let repo = "";
const run = (...args: string[]) => runProgram(["--repo", repo, ...args]);

beforeEach(async () => {
  repo = join(scratch, `repo-${count++}`);
  await runProgram(["init", "--insecure", repo]);
  const [tag] = tags();
  const pulled = await run("oci", "pull", `oci:${EXAMPLE}:${tag}`, "os:v1");
  expect(pulled.status, pulled.stderr).toBe(0);
});

function tags(): string[] {
  const index = JSON.parse(readFileSync(join(EXAMPLE, "index.json"), "utf8")) as {
    manifests: { annotations?: Record<string, string> }[];
  };
  return index.manifests.flatMap(({ annotations }) => annotations?.["org.opencontainers.image.ref.name"] ?? []);
}

/** Any object that holds a file of the image. */
async function anyFile(): Promise<string> {
  await using repository = await Repository.open(repo);
  const layer = readdirSync(join(repo, "streams")).find((name) => name.startsWith("oci-layer-"));
  const [id] = (await repository.openStream(layer as string)).objectRefs;
  return repository.objectPath(id as string);
}

/** Holds a shared lock as another program does. */
async function holder(): Promise<() => Promise<void>> {
  const child = spawn(process.execPath, [COMPOSEFS, "--repo", repo, "transaction"], { stdio: "ignore" });
  for (let i = 0; i < 400; i++) {
    if (spawnSync("flock", ["-x", "-n", repo, "true"]).status !== 0) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return async () => {
    const exit = once(child, "exit");
    sendSignal(child, "SIGTERM");
    expect((await exit)[0]).toBe(143);
  };
}

describe("gc", () => {
  it("removes nothing that is in use, and after untag everything", async () => {
    expect(await run("gc")).toEqual({ status: 0, stdout: "Objects: 0 removed (0 bytes)\n", stderr: "" });
    await run("oci", "untag", "os:v1");
    const dry = await run("gc", "-n");
    expect(dry.stdout).toMatch(
      /^Dry run \(no files deleted\):\nObjects: \d+ removed \(\d+ bytes\)\nPruned symlinks: \d+ images, \d+ streams\n$/,
    );
    const real = await run("gc");
    expect(`Dry run (no files deleted):\n${real.stdout}`).toBe(dry.stdout);
    expect(readdirSync(join(repo, "objects"))).toEqual([]);
  });

  it("--json has the counters, the paths and what stays", async () => {
    await run("oci", "untag", "os:v1");
    writeFileSync(join(repo, "objects/README"), "");
    const { stdout, stderr } = await run("gc", "--json", "--dry-run");
    const result = JSON.parse(stdout) as Record<string, number | boolean | string[]>;
    expect(result["dry_run"]).toBe(true);
    expect((result["removed"] as string[]).length).toBe(
      (result["objects_removed"] as number) +
        (result["images_pruned"] as number) +
        (result["streams_pruned"] as number),
    );
    expect(result["left_alone"]).toEqual(["objects/README"]);
    expect(stderr).toContain("objects/README");
  });

  it("keeps an extra root; a typing error in it deletes nothing", async () => {
    const [manifest] = readdirSync(join(repo, "streams")).filter((name) => name.startsWith("oci-manifest-"));
    await run("oci", "untag", "os:v1");
    const typo = await run("gc", "-r", `${manifest}0`);
    expect(typo.status).toBe(1);
    expect(typo.stderr).toContain(`${manifest}0`);
    expect((await run("gc", "-r", manifest as string)).stdout).toContain("Objects: 0 removed");
  });

  it("with a broken name deletes nothing, says all reasons and what to do", async () => {
    symlinkSync("../../none", join(repo, "streams/refs/oci/gone"));
    symlinkSync("../../none", join(repo, "streams/refs/oci/lost"));
    const { status, stdout, stderr } = await run("gc");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/nothing was deleted.*\(and 1 more\)\nhint: .*fsck --repair/);
    const dry = await run("gc", "-n");
    expect(dry.status).toBe(1);
    for (const name of ["gone", "lost"]) expect(dry.stderr).toContain(`streams/refs/oci/${name}`);
    expect((await run("fsck", "--repair")).status).toBe(0);
    expect((await run("gc")).status).toBe(0);
  });

  it("waits for others with a message that names them, or not, or only so long", async () => {
    const release = await holder();
    const refused = await run("gc", "--no-wait");
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/lock/);
    const late = await run("gc", "--wait", "1.2s");
    expect(late.status).toBe(1);
    expect(late.stderr).toMatch(/waiting for .+ \(\d+\) to end using/);
    expect((await run("gc", "--dry-run")).status).toBe(0);
    const waiting = run("gc", "--wait", "1m");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await release();
    expect((await waiting).status).toBe(0);
  });

  it("refuses nonsense as a time", async () => {
    for (const time of ["soon", "-1", "1d", ""]) expect((await run("gc", `--wait=${time}`)).status).toBe(2);
    expect((await run("gc", "--wait", "1s", "--no-wait")).status).toBe(2);
  });
});

describe("fsck", () => {
  it("of a whole repository", async () => {
    const { status, stdout, stderr } = await run("fsck");
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^meta\.json: ok\nobjects: (\d+)\/\1 ok\nstreams: (\d+)\/\2 ok\nimages: (\d+)\/\3 ok\nstatus: ok\n$/,
    );
    const json = JSON.parse((await run("fsck", "--json")).stdout) as object;
    expect(json).toMatchObject({ ok: true, has_metadata: true, errors: [], broken_links: 0 });
  });

  it("of a damaged one: status 1 in both forms, the object and its digest, what to do", async () => {
    const path = await anyFile();
    truncateSync(path, 1);
    const text = await run("fsck");
    expect(text.status).toBe(1);
    expect(text.stdout).toMatch(/status: 1 error\(s\)\n {2}- fsck: object-digest-mismatch: objects\/../);
    expect(text.stderr).toMatch(/repository integrity check failed\nhint: .*--repair/);
    const json = await run("fsck", "--json");
    expect(json.status).toBe(1);
    expect((JSON.parse(json.stdout) as { errors: string[] }).errors[0]).toContain("measured");
  });

  it("--metadata-only sees a truncated object by its size", async () => {
    truncateSync(await anyFile(), 1);
    const { status, stdout } = await run("fsck", "--metadata-only");
    expect(status).toBe(1);
    expect(stdout).toContain("stream-size-mismatch");
    expect(stdout).toContain("objects: 0/0 ok");
  });

  it("--repair and a pull make it whole", async () => {
    const path = await anyFile();
    writeFileSync(path, "damage");
    const dry = await run("fsck", "--repair", "-n");
    expect(dry.status).toBe(1);
    expect(existsSync(path)).toBe(true);
    const repair = await run("fsck", "--repair");
    expect(repair.status).toBe(1);
    expect(repair.stdout).toContain("damaged object removed: objects/");
    expect(repair.stderr).toMatch(/incomplete, pull it again: os:v1/);
    expect(existsSync(path)).toBe(false);
    expect((await run("oci", "pull", `oci:${EXAMPLE}:${tags()[0]}`, "os:v1")).status).toBe(0);
    expect((await run("fsck")).status).toBe(0);
  });

  it("options that contradict each other are usage errors", async () => {
    expect((await run("fsck", "--repair", "--metadata-only")).status).toBe(2);
    expect((await run("fsck", "--dry-run")).status).toBe(2);
  });
});

describe("init --reset-metadata", () => {
  it("says what goes, and does nothing without --yes where nobody can answer", async () => {
    const init = (...words: string[]) => runProgram(["init", "--insecure", "--reset-metadata", repo, ...words]);
    const refused = await init();
    expect([refused.status, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toContain("streams/refs/oci/os:v1");
    expect(refused.stderr).toMatch(/^composefs: init: --reset-metadata needs --yes/m);
    expect((await run("oci", "images")).stdout).toContain("os:v1");
    const done = await init("--yes");
    expect(done.status).toBe(0);
    expect(done.stdout).toMatch(/^Initialized composefs repository at .+\n {2}algorithm: fsverity-sha512-12\n/);
    expect(done.stderr).toContain("streams/refs/oci/os:v1");
    expect((await run("oci", "images")).stdout).toBe("No images found\n");
    expect((await run("fsck")).status).toBe(0);
    const json = await init("--yes", "--json", "--quiet", "--algorithm", "fsverity-sha256-12");
    expect([json.status, json.stderr]).toEqual([0, ""]);
    const { state, removed } = JSON.parse(json.stdout) as { state: string; removed: string[] };
    expect(state).toBe("reset");
    expect(removed.length).toBeGreaterThan(3);
  });

  it("waits for others as gc does", async () => {
    const release = await holder();
    const busy = await runProgram(["init", "--insecure", "--reset-metadata", "--yes", "--no-wait", repo]);
    expect(busy.status).toBe(1);
    expect(busy.stderr).toContain("lock");
    await release();
  });
});

describe("--wait and --no-wait", () => {
  it("hold for every command that opens a repository, with who is waited for", async () => {
    // Another program collects garbage.
    const collector = spawn("flock", ["-x", repo, "sh", "-c", "echo held; read line"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    await once(collector.stdout, "data");
    const exit = once(collector, "exit");
    for (const words of [["oci", "images"], ["transaction"], ["gc", "--dry-run"]]) {
      const refused = await run(...words, "--no-wait");
      expect([refused.status, refused.stdout]).toEqual([1, ""]);
      expect(refused.stderr).toContain("lock");
    }
    const late = await run("--wait", "1.2s", "oci", "images");
    expect(late.status).toBe(1);
    expect(late.stderr).toContain(`waiting for flock (${collector.pid})`);
    expect(late.stderr).toContain(`to end using ${repo}\n`);
    const patient = run("oci", "images", "--wait=1m");
    await new Promise((resolve) => setTimeout(resolve, 300));
    collector.stdin.end("\n");
    await exit;
    expect((await patient).stdout).toContain("os:v1");
  });
});

describe("transaction", () => {
  it("holds the lock silently until SIGTERM or SIGINT", async () => {
    for (const [signal, status] of [
      ["SIGTERM", 143],
      ["SIGINT", 130],
    ] as const) {
      const finished = await runProgram(["--repo", repo, "transaction"], {
        onStart: (child) => {
          const timer = setInterval(() => {
            if (spawnSync("flock", ["-x", "-n", repo, "true"]).status === 0) return;
            clearInterval(timer);
            sendSignal(child, signal);
          }, 50);
        },
      });
      expect(finished.status).toBe(status);
      expect(finished.stdout).toBe("");
    }
    expect(spawnSync("flock", ["-x", "-n", repo, "true"]).status).toBe(0);
  });

  it("of what is no repository fails", async () => {
    rmSync(repo, { recursive: true });
    expect((await run("transaction")).status).toBe(1);
  });
});
