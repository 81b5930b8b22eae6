// One repository that cfsctl and ours use in turns and at the same time, with random commands of either: both find it sound in the
// end, the images have the recorded ids, and the collector of either keeps what the other's names lead to.
//
//   COMPOSEFS_PEERS_SEED     repeat the choices of a run (printed at its start)
//   COMPOSEFS_PEERS_ROUNDS   commands in turns, 300, for each algorithm; COMPOSEFS_PEERS_SECONDS ends them earlier, 60

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { listImages } from "../../src/oci/list.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { tagImage, untagImage } from "../../src/oci/tags.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import { COMPOSEFS_MAIN } from "../fixtures/composefs.ts";
import { seededRandom } from "../fixtures/random.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { goldensDir } from "../goldens-dir.ts";
import { type GoldenImage, openOciGoldens } from "../oci/golden-layouts.ts";
import { describeWithPeers, peer, peerOutput } from "../peer.ts";

const seed = Number(process.env["COMPOSEFS_PEERS_SEED"] ?? Date.now() % 1_000_000);
const rounds = Number(process.env["COMPOSEFS_PEERS_ROUNDS"] ?? 300);
const seconds = Number(process.env["COMPOSEFS_PEERS_SECONDS"] ?? 60);
/** Longer than any command here takes: a process that is still there then is in a deadlock. */
const DEADLOCK_MS = 120_000;

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
/** What cfsctl 0.9 imports as well. */
const images = goldenImages.filter(
  ({ name, is_container }) =>
    is_container && !["10-multiarch-nested", "11-docker-schema2", "12-multimember", "16-lenient"].includes(name),
);

/** Tags and the images that they must lead to. */
type Model = Map<string, GoldenImage>;

describeWithPeers(["cfsctl"], "a repository that both use", () => {
  let work: string;
  const layouts = new Map<string, string>();
  beforeAll(() => {
    console.log(`seed ${seed}`);
    work = mkdtempSync(join(tmpdir(), "composefs-both-"));
    for (const { layout } of images) if (!layouts.has(layout)) layouts.set(layout, unpackLayout(layout, work));
  });
  afterAll(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  const referenceOf = (image: GoldenImage) => `oci:${layouts.get(image.layout)}:${image.tag}`;
  const cfsctl = (path: string, ...args: string[]) => peerOutput("cfsctl", ["--repo", path, ...args]);

  /** Both look at everything. */
  async function expectWhole(path: string, algorithm: Algorithm, model: Model, where: string): Promise<void> {
    expect(auditRepository(path).problems, where).toEqual([]);
    expect(cfsctl(path, "fsck").trimEnd().split("\n").at(-1), where).toBe("status: ok");
    await using repository = await Repository.open(path);
    const { findings } = await checkRepository(repository, { workers: 0 });
    expect(
      findings.filter(({ severity }) => severity === "error"),
      where,
    ).toEqual([]);
    const names = [...model.keys()].toSorted();
    expect(
      (await listImages(repository)).map(({ name }) => name),
      where,
    ).toEqual(names);
    const theirs = JSON.parse(cfsctl(path, "oci", "images", "--json")) as { images: { name: string }[] };
    expect(theirs.images.map(({ name }) => name).toSorted(), where).toEqual(names);
    for (const [name, image] of model) {
      const id = image.image_ids?.[algorithm]["v1"];
      expect(await computeImageId(repository, name), `${where}: ${name}`).toBe(id);
      expect(repository.hasObject(id ?? ""), `${where}: image of ${name}`).toBe(true);
      const inspected = JSON.parse(cfsctl(path, "oci", "inspect", name)) as { composefs_erofs?: string };
      expect(inspected.composefs_erofs, `${where}: ${name} as cfsctl sees it`).toBe(id);
    }
  }

  /** Collects with both, one after the other, and nothing that a name leads to is gone. */
  async function expectCollectable(path: string, algorithm: Algorithm, model: Model, where: string): Promise<void> {
    cfsctl(path, "gc");
    await expectWhole(path, algorithm, model, `${where}, after cfsctl gc`);
    {
      await using repository = await Repository.open(path, { write: true });
      await collectGarbage(repository);
    }
    await expectWhole(path, algorithm, model, `${where}, after our gc`);
    const left = auditRepository(path);
    expect(left.temporary, where).toEqual([]);
  }

  it.each([
    ["sha256", "ours"],
    ["sha512", "cfsctl"],
  ] as const)("in turns: %s, made by %s", async (algorithm, maker) => {
    const random = seededRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const path = join(work, `turns-${algorithm}`);
    if (maker === "ours") await Repository.init(path, { algorithm, insecure: true });
    else peerOutput("cfsctl", ["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, path]);
    const model: Model = new Map();
    const tags = Array.from({ length: 6 }, (_, i) => `host/tag%${i}:v`);
    const until = performance.now() + seconds * 1000;
    const history: string[] = [];

    const ours = async (action: (repository: Repository) => Promise<unknown>) => {
      await using repository = await Repository.open(path, { write: true });
      await action(repository);
    };
    let done = 0;
    for (; done < rounds && performance.now() < until; done++) {
      const own = random() < 0.5;
      const command = pick(["pull", "pull", "pull", "tag", "untag", "untag", "gc", "fsck", "images"] as const);
      const tag = pick(tags);
      const image = command === "tag" ? pick([...model.values(), undefined]) : pick(images);
      history.push(`${own ? "ours" : "cfsctl"} ${command} ${tag} ${image?.name ?? ""}`);
      const where = `seed ${seed}, round ${done}: ${history.slice(-12).join("; ")}`;
      try {
        if (command === "pull" && image !== undefined) {
          if (own) await ours((repository) => pull(repository, referenceOf(image), { tag, platform }));
          else cfsctl(path, "oci", "pull", referenceOf(image), tag);
          model.set(tag, image);
        } else if (command === "tag" && image !== undefined) {
          if (own) await ours((repository) => tagImage(repository, image.manifest_digest, tag));
          else cfsctl(path, "oci", "tag", image.manifest_digest, tag);
          model.set(tag, image);
        } else if (command === "untag" && model.delete(tag)) {
          if (own) await ours((repository) => untagImage(repository, tag));
          else cfsctl(path, "oci", "untag", tag);
        } else if (command === "gc") {
          if (own) await ours((repository) => collectGarbage(repository));
          else cfsctl(path, "gc");
        } else if (command === "fsck") {
          if (own) await ours(async (repository) => expect((await checkRepository(repository)).ok, where).toBe(true));
          else cfsctl(path, "fsck");
        } else if (command === "images") {
          const theirs = JSON.parse(cfsctl(path, "oci", "images", "--json")) as { images: { name: string }[] };
          await ours(async (repository) => expect(await listImages(repository)).toHaveLength(theirs.images.length));
          expect(theirs.images, where).toHaveLength(model.size);
        }
      } catch (cause) {
        throw new Error(`${where}: ${String(cause)}`, { cause });
      }
      if (done % 25 === 24) await expectWhole(path, algorithm, model, where);
    }
    console.log(`${algorithm}: ${done} commands in turns`);
    await expectCollectable(path, algorithm, model, `seed ${seed}, after ${done} rounds`);
    expect(done).toBeGreaterThanOrEqual(Math.min(rounds, 25));
  });

  /** Runs a process to its end; one that does not come to it is killed, and fails. */
  function finish(program: string, args: readonly string[]): Promise<string> {
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: DEADLOCK_MS,
      killSignal: "SIGKILL",
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status, signal) => {
        if (status === 0) resolve(output);
        else reject(new Error(`${program} ${args.join(" ")}: ${signal ?? status}\n${output}`));
      });
    });
  }

  it.each([
    ["sha512", 50],
    ["sha256", 50],
  ] as const)(
    "at the same time: %s, two processes of ours and one of cfsctl, %i pulls and gcs",
    async (algorithm, total) => {
      const path = join(work, `together-${algorithm}`);
      await Repository.init(path, { algorithm, insecure: true });
      let left = total;
      const counts: Record<string, number> = {};
      const lane = async (name: string, program: string, before: readonly string[]): Promise<Model> => {
        const random = seededRandom(seed + name.charCodeAt(0));
        const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
        const run = (...args: string[]) => finish(program, [...before, "--repo", path, ...args]);
        const own: Model = new Map();
        while (left-- > 0) {
          const image = pick(images);
          const tag = `${name}/${Math.floor(random() * 3)}`;
          const command = pick(["pull", "pull", "gc"] as const);
          counts[command] = (counts[command] ?? 0) + 1;
          if (command === "gc") {
            await run("gc");
          } else {
            await run("oci", "pull", referenceOf(image), tag);
            own.set(tag, image);
          }
          // These are no pulls and gcs, and not counted.
          if (random() < 0.2) await run("fsck");
          const some = pick([...own.keys(), undefined]);
          if (some !== undefined && random() < 0.2) {
            await run("oci", "untag", some);
            own.delete(some);
          }
        }
        return own;
      };
      const main = [COMPOSEFS_MAIN];
      const models = await Promise.all([
        lane("a", process.execPath, main),
        lane("b", process.execPath, main),
        lane("c", peer("cfsctl"), []),
      ]);
      console.log(`${algorithm}: ${JSON.stringify(counts)}`);
      const model: Model = new Map(models.flatMap((own) => [...own]));
      const where = `seed ${seed}, at the same time`;
      await expectWhole(path, algorithm, model, where);
      await expectCollectable(path, algorithm, model, where);
    },
  );
});
