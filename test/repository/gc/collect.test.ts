import { execFileSync, spawn } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collectGarbage, type GcOptions } from "../../../src/repository/gc/collect.ts";
import type { Inventory } from "../../../src/repository/gc/inventory.ts";
import { ObjectSet } from "../../../src/repository/gc/object-set.ts";
import { planCollection } from "../../../src/repository/gc/plan.ts";
import { reach } from "../../../src/repository/gc/reach.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { SplitstreamWriter } from "../../../src/splitstream/write.ts";

let scratch = "";
let path = "";
let repository: Repository;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "composefs-gc-"));
  path = join(scratch, "repo");
  await Repository.init(path, { insecure: true, algorithm: "sha256" });
  repository = await Repository.open(path, { write: true, durability: "none" });
});
afterEach(async () => {
  await repository.close();
  rmSync(scratch, { recursive: true, force: true });
});

const put = (text: string) => repository.store.putSync(Buffer.from(text.padEnd(100, "."))).id;

/** A stream with objects and references to other streams. */
async function stream(name: string, objects: string[], refs: Record<string, string> = {}): Promise<string> {
  const writer = new SplitstreamWriter("sha256", "ociconfg");
  for (const text of objects) writer.external(put(text), 100);
  writer.inline(Buffer.from(name));
  for (const [ref, id] of Object.entries(refs)) writer.namedRef(ref, id);
  return repository.putStream(name, writer);
}

const collect = (options: GcOptions = {}) => collectGarbage(repository, options);
const has = (id: string) => existsSync(repository.objectPath(id));

describe("what is kept", () => {
  test("everything that a ref reaches through any number of streams, in cycles too; nothing else", async () => {
    const deep = await stream("deep", ["deep object"]);
    const middle = await stream("middle", ["middle object"], { down: deep });
    await stream("top", ["top object"], { any: middle });
    const dead = await stream("dead", ["dead object", "top object"], { down: deep });
    repository.setRef("streams", "a/b/c", "top");
    const loose = put("loose");
    const { plan } = await collect();
    expect(plan.roots).toEqual({ streams: ["top"], images: [] });
    expect(plan.streams).toEqual(["streams/dead"]);
    for (const id of [deep, middle, put("deep object"), put("middle object"), put("top object")])
      expect(has(id)).toBe(true);
    for (const id of [dead, loose]) expect(has(id)).toBe(false);
    expect(readdirSync(join(path, "streams")).toSorted()).toEqual(["deep", "middle", "refs", "top"]);
  });

  test("a stream that is named by id although its link was re-pointed meanwhile, and all below it", async () => {
    const old = await stream("shared", ["only in the old one"]);
    await stream("user", [], { ref: old });
    await stream("shared", ["only in the new one"]);
    repository.setRef("streams", "u", "user");
    await collect();
    expect(has(old)).toBe(true);
    expect(has(put("only in the old one"))).toBe(true);
    expect(repository.stream("shared")).toBeUndefined();
  });

  test("extra roots, by content id", async () => {
    const one = await stream("one", ["object one"]);
    const two = await stream("two", ["object two"]);
    await expect(collect({ roots: ["on"] })).rejects.toMatchObject({ code: "not-found" });
    expect([has(one), has(two)]).toEqual([true, true]);
    await collect({ roots: ["one"] });
    expect([has(one), has(two)]).toEqual([true, false]);
  });

  test("objects of streams whose body nobody reads: the table counts", async () => {
    const writer = new SplitstreamWriter("sha256", "ocilayer");
    const id = put("kept by the table only");
    writer.objectRef(id);
    await repository.putStream("s", writer);
    repository.setRef("streams", "r", "s");
    await collect();
    expect(has(id)).toBe(true);
  });
});

describe("what is not touched", () => {
  test("files that are not the repository's, wherever they are", async () => {
    const object = put("garbage");
    const directory = join(path, "objects", object.slice(0, 2));
    for (const file of [join(path, "README"), join(path, "objects/README"), join(directory, "README")])
      writeFileSync(file, "");
    mkdirSync(join(directory, "ab".repeat(31)));
    writeFileSync(join(directory, "ab".repeat(31), "precious"), "");
    const { plan } = await collect();
    expect(plan.foreign).toEqual(
      [
        "objects/README",
        ...[`${directory}/${"ab".repeat(31)}`, `${directory}/README`]
          .map((file) => file.slice(path.length + 1))
          .toSorted(),
      ].toSorted(),
    );
    expect(has(object)).toBe(false);
    expect(existsSync(join(directory, "ab".repeat(31), "precious"))).toBe(true);
    expect(existsSync(join(path, "README"))).toBe(true);
  });

  test("what lies behind links in the place of directories", async () => {
    const outside = join(scratch, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "0".repeat(62)), "");
    mkdirSync(join(path, "objects"), { recursive: true });
    symlinkSync(outside, join(path, "objects/00"));
    await collect();
    expect(readdirSync(outside)).toEqual(["0".repeat(62)]);
  });

  test("anything, when the walk is incomplete; every reason is given", async () => {
    const lost = await stream("lost", []);
    const damaged = await stream("damaged", ["x"]);
    await stream("top", [], { a: lost, b: damaged });
    repository.setRef("streams", "t", "top");
    const garbage = put("garbage");
    rmSync(repository.objectPath(lost));
    writeFileSync(repository.objectPath(damaged), "x");
    symlinkSync("../../none", join(path, "streams/refs/dangling"));
    const { plan } = await collect({ dryRun: true });
    expect(plan.problems.map((problem) => problem.path).toSorted()).toEqual([
      "streams/damaged",
      "streams/lost",
      "streams/refs/dangling",
    ]);
    await expect(collect()).rejects.toMatchObject({ code: "corrupt", message: expect.stringContaining("and 2 more") });
    expect(has(garbage)).toBe(true);
  });
});

describe("leftovers", () => {
  test("temporary files of crashed writers go, and empty directories", async () => {
    const garbage = put("garbage");
    writeFileSync(join(path, "objects/.tmp-object-abc"), "half");
    symlinkSync("x", join(path, ".symlink-abcdefghijkl"));
    for (const [name, age] of [
      ["old", 7200],
      ["young", 0],
      ["future", -7200],
    ] as const) {
      writeFileSync(join(path, `.tmp-meta-${name}`), "");
      utimesSync(join(path, `.tmp-meta-${name}`), 0, Date.now() / 1000 - age);
    }
    await stream("s", []);
    repository.setRef("streams", "deep/er/ref", "s");
    repository.removeRef("streams", "deep/er/ref");
    const { plan, directories } = await collect();
    expect(plan.temporaries).toEqual([
      { path: ".symlink-abcdefghijkl", bytes: 0 },
      { path: ".tmp-meta-future", bytes: 0 },
      { path: ".tmp-meta-old", bytes: 0 },
      { path: "objects/.tmp-object-abc", bytes: 4 },
    ]);
    expect(readdirSync(path).toSorted()).toEqual([".tmp-meta-young", "meta.json", "objects", "streams"]);
    expect(readdirSync(join(path, "objects"))).toEqual([]);
    expect(directories).toContain(`objects/${garbage.slice(0, 2)}`);
    expect(directories).toContain("streams/refs/deep/er");
    expect(directories).toContain("streams/refs/deep");
    expect(readdirSync(join(path, "streams"))).toEqual(["refs"]);
  });

  test("a link or FIFO that is named like an object goes as one", async () => {
    const names = ["a", "b"].map((digit) => digit.repeat(62));
    mkdirSync(join(path, "objects/00"), { recursive: true });
    symlinkSync("/etc/passwd", join(path, "objects/00", names[0] as string));
    execFileSync("mkfifo", [join(path, "objects/00", names[1] as string)]);
    const { plan, objectBytes } = await collect();
    expect(plan.objects.length).toBe(2);
    expect(objectBytes).toBe(0);
    expect(existsSync(join(path, "objects/00"))).toBe(false);
  });
});

describe("the lock", () => {
  test("waits for other processes, or not, and tells; the plan needs none", async () => {
    const garbage = put("garbage");
    const holder = spawn("flock", ["-F", "-s", path, "sh", "-c", "echo held; exec sleep 60"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    await new Promise((resolve) => holder.stdout.once("data", resolve));
    const gone = new Promise((resolve) => holder.once("exit", resolve));
    try {
      expect((await collect({ dryRun: true })).plan.objects.length).toBe(1);
      await expect(collect({ lock: { timeoutMs: 0 } })).rejects.toMatchObject({ code: "locked" });
      // Still usable, and still locked for others.
      expect(has(put("more"))).toBe(true);
      const controller = new AbortController();
      let told = 0;
      const waiting = collect({ signal: controller.signal, lock: { onWait: () => told++ } });
      setTimeout(() => controller.abort(), 1400);
      await expect(waiting).rejects.toMatchObject({ code: "aborted" });
      expect(told).toBe(1);
      expect(has(garbage)).toBe(true);
    } finally {
      holder.kill();
      await gone;
    }
    expect((await collect({ lock: { timeoutMs: 5000 } })).plan.objects.length).toBe(2);
    expect(() => execFileSync("flock", ["-x", "-n", path, "true"])).toThrowError(/Command failed/);
  });

  test("another handle in this process is an error, not a deadlock", async () => {
    await using other = await Repository.open(path);
    await expect(collect()).rejects.toMatchObject({ code: "locked", message: expect.stringContaining("1 more time") });
    expect(other.hasObject(put("x"))).toBe(true);
  });

  test("objects that were collected are not believed to be there", async () => {
    const id = put("garbage");
    await collect();
    expect(repository.hasObject(id)).toBe(false);
    expect(put("garbage")).toBe(id);
    expect(lstatSync(repository.objectPath(id)).isFile()).toBe(true);
  });

  test("an abort in the middle leaves a repository that is whole", async () => {
    for (let i = 0; i < 3000; i++) put(`garbage ${i}`);
    const kept = await stream("s", ["kept"]);
    repository.setRef("streams", "r", "s");
    const controller = new AbortController();
    const collecting = collect({
      signal: controller.signal,
      onProgress: (event) => event.type === "advance" && controller.abort(),
    });
    await expect(collecting).rejects.toMatchObject({ code: "aborted" });
    expect(has(kept)).toBe(true);
    const { plan } = await collect();
    expect(plan.objects.length).toBeGreaterThan(100);
    expect(plan.objects.length).toBeLessThan(3000);
  });
});

const object = (digit: string) => digit.repeat(64);
const objectFile = (digit: string) => `objects/${digit.repeat(2)}/${digit.repeat(62)}`;

describe("the planner is a pure function", () => {
  const inventory = (): Inventory => ({
    algorithm: "sha256",
    streams: {
      entries: [
        { name: "s", target: "../objects/aa/a", object: object("a") },
        { name: "t", target: "../objects/bb/b", object: object("b") },
        { name: "gone", target: "../objects/cc/c", object: object("c") },
      ],
      refs: [{ name: "r", target: "../s", entry: "s", straight: true }],
    },
    images: {
      entries: [{ name: "i", target: "../objects/dd/d", object: object("d") }],
      refs: [],
    },
    objects: ObjectSet.of("sha256", ["a", "b", "d", "e"].map(object)),
    foreign: ["objects/x"],
    temporaries: ["objects/.tmp-object-1"],
    strays: [],
  });
  const reader = {
    stream: async () => ({
      objectTable: Buffer.from(object("e"), "hex"),
      namedRefs: new Map([["composefs.image", object("d")]]),
    }),
    image: async () => {},
    looksLikeStream: () => false,
  };

  test("from data to a plan", async () => {
    const plan = planCollection(inventory(), await reach(inventory(), reader), (file) =>
      file === objectFile("b") ? 7 : 1,
    );
    expect(plan).toEqual({
      problems: [],
      skipped: [],
      roots: { streams: ["s"], images: [] },
      kept: 3,
      images: [],
      streams: ["streams/t", "streams/gone"],
      objects: [{ path: objectFile("b"), bytes: 7 }],
      temporaries: [{ path: "objects/.tmp-object-1", bytes: 1 }],
      foreign: ["objects/x"],
    });
  });

  test("what turns out to be a directory is foreign", async () => {
    const plan = planCollection(inventory(), await reach(inventory(), reader), () => undefined);
    expect(plan.objects).toEqual([]);
    expect(plan.foreign).toEqual(["objects/.tmp-object-1", objectFile("b"), "objects/x"]);
  });
});
