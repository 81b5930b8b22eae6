// Ours and cfsctl's on one repository, in turns and at the same time: nothing is lost, nobody waits for ever, whatever either
// collects the other still has what it named. COMPOSEFS_ROUNDS sets the length, COMPOSEFS_SEED repeats a run.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { findingMessage } from "../../src/repository/fsck/finding.ts";
import { Repository } from "../../src/repository/repository.ts";
import { describeWithPeers, peer, runPeer } from "../peer.ts";

const ROUNDS = Number(process.env["COMPOSEFS_ROUNDS"] ?? 16);
const SEED = Number(process.env["COMPOSEFS_SEED"] ?? Date.now() % 2 ** 32);
const PROGRAM = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const scratch = mkdtempSync(join(tmpdir(), "composefs-together-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Numbers below n (an LCG: only the order of operations comes from it). */
function random(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const sha256 = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A layout with images that share layers: image i has the layers i, i+1, i+2 of the same six. */
function makeLayout(path: string): string[] {
  const blobs = join(path, "blobs/sha256");
  execFileSync("mkdir", ["-p", blobs]);
  const put = (bytes: Buffer) => {
    const digest = sha256(bytes);
    writeFileSync(join(blobs, digest.slice(7)), bytes);
    return { digest, size: bytes.length };
  };
  const layers = Array.from({ length: 6 }, (_, i) => {
    const root = join(scratch, `layer${i}`);
    execFileSync("mkdir", ["-p", join(root, "usr/share")]);
    for (let file = 0; file < 25; file++)
      writeFileSync(
        join(root, "usr/share", `f${i}-${file}`),
        file < 5 ? `small ${file}` : randomBytes(100 + file * 900),
      );
    // One file that all layers have.
    writeFileSync(join(root, "usr/share/common"), Buffer.alloc(5000, "common"));
    return put(
      execFileSync("tar", ["--owner=0", "--group=0", "--sort=name", "-cf", "-", "-C", root, "."], {
        maxBuffer: 1 << 28,
      }),
    );
  });
  const manifests = Array.from({ length: 4 }, (_, i) => {
    const mine = layers.slice(i, i + 3);
    const config = put(
      Buffer.from(
        JSON.stringify({
          architecture: "amd64",
          os: "linux",
          config: {},
          rootfs: { type: "layers", diff_ids: mine.map(({ digest }) => digest) },
        }),
      ),
    );
    const manifest = put(
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
          layers: mine.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar", ...layer })),
        }),
      ),
    );
    return {
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      ...manifest,
      platform: { architecture: "amd64", os: "linux" },
      annotations: { "org.opencontainers.image.ref.name": `image${i}` },
    };
  });
  writeFileSync(join(path, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(path, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  return manifests.map(({ annotations }) => annotations["org.opencontainers.image.ref.name"]);
}

interface Finished {
  who: string;
  args: readonly string[];
  status: number | null;
  stderr: string;
}

describeWithPeers(["cfsctl"], `one repository, two programs (seed ${SEED})`, () => {
  const layout = join(scratch, "layout");
  let names: string[] = [];
  beforeAll(() => {
    names = makeLayout(layout);
  });

  const running = new Set<ChildProcess>();
  afterAll(() => {
    for (const child of running) child.kill();
  });

  /** Runs one of the programs to its end. */
  function start(who: "ours" | "cfsctl", repo: string, args: readonly string[]): Promise<Finished> {
    const [command, first] = who === "ours" ? [process.execPath, [PROGRAM]] : [peer("cfsctl"), []];
    const child = spawn(command, [...first, "--repo", repo, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    running.add(child);
    const stderr: Buffer[] = [];
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status) => {
        running.delete(child);
        resolve({ who, args, status, stderr: Buffer.concat(stderr).toString() });
      });
    });
  }

  const fails = ({ who, args, status, stderr }: Finished) =>
    status === 0 ? [] : [`${who} ${args.join(" ")}: ${status}\n${stderr}`];

  /** Both checks are green, and every tag has the image that its name says. */
  async function checkAll(
    repo: string,
    tags: ReadonlyMap<string, string>,
    ids: ReadonlyMap<string, string>,
  ): Promise<void> {
    {
      await using repository = await Repository.open(repo);
      const report = await checkRepository(repository, { workers: 0 });
      expect(report.findings.filter(({ severity }) => severity === "error").map(findingMessage)).toEqual([]);
      expect(repository.refs("streams", "oci").map(({ name }) => name)).toEqual([...tags.keys()].toSorted());
    }
    const theirs = runPeer("cfsctl", ["--repo", repo, "fsck", "--json"]);
    expect((JSON.parse(theirs.stdout) as { errors: string[] }).errors).toEqual([]);
    for (const [tag, image] of tags) {
      const run = runPeer("cfsctl", ["--repo", repo, "oci", "compute-id", tag]);
      expect(run.stdout.trim(), `${tag}: ${run.stderr}`).toBe(ids.get(image));
    }
  }

  /** The image ids, from a repository that only cfsctl has touched. */
  function imageIds(algorithm: string): Map<string, string> {
    const repo = join(scratch, `reference-${algorithm}`);
    runPeer("cfsctl", ["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, repo]);
    return new Map(
      names.map((name) => {
        runPeer("cfsctl", ["--repo", repo, "oci", "pull", `oci:${layout}:${name}`, name]);
        return [name, runPeer("cfsctl", ["--repo", repo, "oci", "compute-id", name]).stdout.trim()];
      }),
    );
  }

  for (const algorithm of ["sha256", "sha512"] as const) {
    test(`${algorithm}: ${ROUNDS} operations in turns`, async () => {
      const repo = join(scratch, `turns-${algorithm}`);
      const ids = imageIds(algorithm);
      const pick = random(SEED);
      await Repository.init(repo, { insecure: true, algorithm });
      const tags = new Map<string, string>();
      for (let round = 0; round < ROUNDS; round++) {
        const who = pick(2) === 0 ? "ours" : "cfsctl";
        const kind = pick(5);
        const tag = `tag${pick(3)}`;
        const image = names[pick(names.length)] as string;
        let args: string[];
        if (kind <= 1) {
          args = ["oci", "pull", `oci:${layout}:${image}`, tag];
          tags.set(tag, image);
        } else if (kind === 2 && tags.has(tag)) {
          args = ["oci", "untag", tag];
          tags.delete(tag);
        } else {
          args = kind === 3 ? ["gc", "--dry-run"] : ["gc"];
        }
        expect(fails(await start(who, repo, args)), `round ${round}`).toEqual([]);
        if (round % 10 === 9 || round === ROUNDS - 1) await checkAll(repo, tags, ids);
      }
      await start("ours", repo, ["gc"]);
      await checkAll(repo, tags, ids);
    });

    test(`${algorithm}: pulls and collections of both at the same time`, async () => {
      const repo = join(scratch, `together-${algorithm}`);
      const ids = imageIds(algorithm);
      const pick = random(SEED + 1);
      await Repository.init(repo, { insecure: true, algorithm });
      // Each lane has tags of its own: the last of its operations decides.
      const tags = new Map<string, string>();
      const lane = async (who: "ours" | "cfsctl", number: number, rounds: number) => {
        const problems: string[] = [];
        for (let round = 0; round < rounds; round++) {
          const image = names[pick(names.length)] as string;
          const tag = `lane${number}`;
          const args = pick(3) === 0 ? ["gc"] : ["oci", "pull", `oci:${layout}:${image}`, tag];
          problems.push(...fails(await start(who, repo, args)));
          if (args[0] === "oci") tags.set(tag, image);
        }
        return problems;
      };
      const rounds = Math.max(4, Math.ceil(ROUNDS / 4));
      const problems = await Promise.all([lane("ours", 1, rounds), lane("ours", 2, rounds), lane("cfsctl", 3, rounds)]);
      expect(problems.flat()).toEqual([]);
      await checkAll(repo, tags, ids);
      for (const who of ["cfsctl", "ours"] as const) {
        expect(fails(await start(who, repo, ["gc"]))).toEqual([]);
        await checkAll(repo, tags, ids);
      }
      // Nothing is left of the writers.
      expect(readdirSync(repo).filter((name) => name.startsWith("."))).toEqual([]);
      expect(readdirSync(join(repo, "objects")).filter((name) => name.startsWith("."))).toEqual([]);
      expect(readFileSync(join(repo, "meta.json"), "utf8")).toContain(algorithm);
    });
  }
});
