// The scan beyond what the goldens record: bounds on descriptors, changes meanwhile, threads, access times, refusals.

import {
  appendFileSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  checkOutside,
  ComposefsError,
  computeAllDirectoryIds,
  computeDirectoryId,
  directoryTree,
  dumpTree,
  type FileWork,
  Leaf,
  scanDirectory,
  type ScanOptions,
} from "../../../src/index.ts";
import { contentDigests } from "../../../src/tree/scan/content.ts";
import { ObjectStore } from "../../../src/repository/object-store.ts";
import { workerEntry } from "../../../src/runtime/workers.ts";
import { referenceFsverity } from "../../fixtures/fsverity.ts";
import { COMPOSEFS, MKCOMPOSEFS, run } from "../../cli/program.ts";

const place = mkdtempSync(join(tmpdir(), "composefs-scan-"));
afterAll(() => rmSync(place, { recursive: true, force: true }), 120_000);

let made = 0;
function newDirectory(): string {
  const path = join(place, `d${made++}`);
  mkdirSync(path);
  return path;
}

const dumpOf = async (path: string, options: ScanOptions = {}) =>
  [...dumpTree((await scanDirectory(path, { algorithms: ["sha256"], ...options })).root)].join("");

const openDescriptors = () => readdirSync("/proc/self/fd").length;
const openBelow = (directory: string) =>
  readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    })
    .filter((path) => path.startsWith(directory));

/** Does what the scan does itself, and something before. */
function workAfter(action: () => void, data: unknown = { algorithms: ["sha256"], choice: "auto" }): FileWork {
  return {
    here: (fd, size) => {
      action();
      return contentDigests(fd, size, ["sha256"]);
    },
    entry: workerEntry("./hash-worker", import.meta.url.replace("/test/", "/src/")),
    data,
  };
}

async function failure(promise: Promise<unknown>): Promise<ComposefsError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ComposefsError) return error;
  throw new Error(`expected a ComposefsError, got ${String(error)}`);
}

describe("trees", () => {
  it("of 300 levels: hard links through all of them, descriptors bounded", async () => {
    const root = newDirectory();
    writeFileSync(join(root, "top"), "x".repeat(100));
    let at = root;
    for (let level = 0; level < 300; level++) {
      at = join(at, "d");
      mkdirSync(at);
      writeFileSync(join(at, "f"), String(level));
    }
    linkSync(join(root, "top"), join(at, "bottom"));
    const before = openDescriptors();
    let most = 0;
    const { root: tree, entries } = await scanDirectory(root, {
      algorithms: ["sha256"],
      threads: 1,
      onProgress: () => (most = Math.max(most, openDescriptors())),
    });
    expect(entries).toBe(603);
    expect(most - before).toBeLessThan(70);
    expect(most - before).toBeGreaterThan(30);
    expect(openDescriptors()).toBe(before);
    let directory = tree;
    for (let level = 0; level < 300; level++) directory = directory.entries.get("d") as typeof tree;
    expect(directory.entries.get("bottom")).toBe(tree.entries.get("top"));
  });

  it("with many files are the same with one thread and with several", { timeout: 120_000 }, async () => {
    const root = newDirectory();
    for (let i = 0; i < 2600; i++) {
      if (i % 100 === 0) mkdirSync(join(root, `d${i / 100}`));
      writeFileSync(join(root, `d${Math.floor(i / 100)}`, `f${i}`), `${i} `.repeat(10 + (i % 700)));
    }
    const before = openDescriptors();
    const alone = await dumpOf(root, { threads: 1 });
    expect(alone.split("\n").length).toBe(2600 + 26 + 2);
    expect(await dumpOf(root, { threads: 3 })).toBe(alone);
    expect(openDescriptors()).toBeLessThan(before + 20);
  });

  it("digests are those of an independent implementation, around all limits", async () => {
    const root = newDirectory();
    const sizes = [65, 4096, 4097, 262_143, 262_144, 262_145, 1_500_000];
    for (const size of sizes) writeFileSync(join(root, `${size}`), Buffer.alloc(size, `${size}`));
    for (const algorithm of ["sha256", "sha512"] as const) {
      const { root: tree } = await scanDirectory(root, { algorithms: [algorithm] });
      for (const size of sizes) {
        const leaf = tree.entries.get(`${size}`) as Leaf;
        expect(leaf.content).toEqual({
          kind: "external",
          size,
          digest: referenceFsverity(algorithm, Buffer.alloc(size, `${size}`)),
        });
      }
    }
  });

  it("holes cost nothing, and are zeros", async () => {
    const root = newDirectory();
    const some = Buffer.alloc(3_000_000);
    some.write("data", 1_500_000);
    writeFileSync(join(root, "some"), "");
    truncateSync(join(root, "some"), some.length);
    const fd = openSync(join(root, "some"), "r+");
    writeSync(fd, Buffer.from("data"), 0, 4, 1_500_000);
    closeSync(fd);
    writeFileSync(join(root, "huge"), "x");
    truncateSync(join(root, "huge"), 2 ** 40);
    const { root: tree, bytes } = await scanDirectory(root, { algorithms: ["sha256"] });
    expect(bytes).toBe(BigInt(2 ** 40 + some.length));
    expect((tree.entries.get("some") as Leaf).content).toMatchObject({ digest: referenceFsverity("sha256", some) });
    expect((tree.entries.get("huge") as Leaf).content).toMatchObject({ size: 2 ** 40 });
  });

  it("all variants from one scan are the single ones", async () => {
    const root = newDirectory();
    mkdirSync(join(root, "usr"));
    writeFileSync(join(root, "usr/a"), "a".repeat(1000));
    linkSync(join(root, "usr/a"), join(root, "b"));
    const all = await computeAllDirectoryIds(root);
    expect(all.length).toBe(6);
    for (const { algorithm, version, id } of all)
      expect(await computeDirectoryId(root, { algorithm, version })).toBe(id);
    expect(new Set(all.map(({ id }) => id)).size).toBe(6);
  });

  it("leaves access times alone", async () => {
    const root = newDirectory();
    mkdirSync(join(root, "d"));
    for (const path of ["f", "d/g"]) {
      writeFileSync(join(root, path), "x".repeat(5000));
      utimesSync(join(root, path), 1000, 2000);
    }
    utimesSync(join(root, "d"), 1000, 2000);
    await dumpOf(root);
    expect(["f", "d", "d/g"].map((path) => statSync(join(root, path)).atimeMs)).toEqual([1e6, 1e6, 1e6]);
  });
});

describe("changes while it is read", () => {
  it.each([
    ["content", (path: string) => appendFileSync(path, "more")],
    ["length", (path: string) => truncateSync(path, 10)],
    ["time", (path: string) => utimesSync(path, 5, 5)],
  ])("a file's %s", async (_what, change) => {
    const root = newDirectory();
    const path = join(root, "f");
    writeFileSync(path, "x".repeat(5000));
    const before = openDescriptors();
    const error = await failure(dumpOf(root, { threads: 1, work: workAfter(() => change(path)) }));
    expect({ code: error.code, path: error.path }).toEqual({ code: "io", path });
    expect(error.message).toBe(`${path}: the file was changed while it was read`);
    expect(error.hint).toMatch(/again/);
    expect(openDescriptors()).toBe(before);
  });

  it("a directory's entries", async () => {
    const root = newDirectory();
    mkdirSync(join(root, "d"));
    writeFileSync(join(root, "d/f"), "x".repeat(5000));
    const work = workAfter(() => writeFileSync(join(root, "d/new"), ""));
    const error = await failure(dumpOf(root, { threads: 1, work }));
    expect(error.message).toBe(`${join(root, "d")}: the directory was changed while it was read`);
  });

  it("what a worker finds names the file", { timeout: 120_000 }, async () => {
    const root = newDirectory();
    for (let i = 0; i < 2100; i++) writeFileSync(join(root, `f${i}`), "x".repeat(100));
    const work = workAfter(() => undefined, { choice: "auto" });
    const error = await failure(dumpOf(root, { threads: 2, work }));
    expect(error.path).toMatch(/\/f\d+$/);
    expect(error.message.startsWith(`${error.path}: `)).toBe(true);
  });

  it("an abort ends it", async () => {
    const root = newDirectory();
    for (let i = 0; i < 50; i++) writeFileSync(join(root, `f${i}`), "x".repeat(100));
    const stop = new AbortController();
    const work = workAfter(() => stop.abort());
    expect((await failure(dumpOf(root, { threads: 1, work, signal: stop.signal }))).code).toBe("aborted");
  });

  it.each([1, 2])("an abort ends it inside of a large file, %i threads", async (threads) => {
    const root = newDirectory();
    for (const name of ["a", "b", "c"]) {
      writeFileSync(join(root, name), "");
      truncateSync(join(root, name), 64 << 20);
    }
    const stop = new AbortController();
    const entry = new URL("../../fixtures/endless-worker.mjs", import.meta.url);
    const work: FileWork = { ...workAfter(() => expect.unreachable()), entry };
    setTimeout(() => stop.abort(), 100);
    expect((await failure(dumpOf(root, { threads, work, signal: stop.signal }))).code).toBe("aborted");
    // Threads that end may have others open for a moment.
    expect(openBelow(root)).toEqual([]);
  });

  it("digests and copies of large files can be interrupted before each piece", () => {
    const path = join(newDirectory(), "large");
    writeFileSync(path, Buffer.alloc(3 << 20, "x"));
    const fd = openSync(path, "r");
    let calls = 0;
    const check = () => {
      if (++calls % 2 === 0) throw new ComposefsError("aborted", "interrupted");
    };
    const objects = newDirectory();
    const store = new ObjectStore({ path: objects, objects, algorithm: "sha256", secure: false });
    try {
      expect(() => contentDigests(fd, 3 << 20, ["sha256"], check)).toThrow("interrupted");
      expect(() => store.putFileSync(fd, 3 << 20, check)).toThrow("interrupted");
      // It is not looked for any more, but copied at once.
      for (let i = 0; i < 300; i++) store.putSync(Buffer.from(`object ${i}`.padEnd(100)));
      expect(() => store.putFileSync(fd, 3 << 20, check)).toThrow("interrupted");
      expect(calls).toBe(6);
      const left = readdirSync(objects, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      expect(left).toHaveLength(300);
    } finally {
      closeSync(fd);
    }
  });
});

describe("refusals", () => {
  it("of what is no directory", async () => {
    const root = newDirectory();
    writeFileSync(join(root, "file"), "");
    symlinkSync(root, join(place, "link"));
    expect(await failure(dumpOf(join(root, "file")))).toMatchObject({ code: "invalid" });
    expect((await failure(dumpOf(join(place, "link")))).hint).toContain(`${join(place, "link")}/`);
    expect(await dumpOf(`${join(place, "link")}/`)).toContain("/file 0 ");
    expect(await failure(dumpOf(join(place, "none")))).toMatchObject({ code: "not-found", path: join(place, "none") });
  });

  it("of a root file system without /usr, before anything is read", async () => {
    const root = newDirectory();
    writeFileSync(join(root, "f"), "x".repeat(100));
    const work = workAfter(() => expect.unreachable());
    expect((await failure(directoryTree(root, { work }))).hint).toContain("--no-propagate-usr-to-root");
  });

  it("of outputs inside, by any path", () => {
    const root = newDirectory();
    mkdirSync(join(root, "d"));
    symlinkSync(join(root, "d"), join(place, "into"));
    for (const output of [join(root, "x"), join(place, "into/x"), `${root}/d/../no/such/x`, root])
      expect(() => checkOutside(root, output, "the image")).toThrow(/would lie in the directory/);
    for (const output of [join(place, "x"), `${root}x`, "/"]) checkOutside(root, output, "the image");
  });

  it.skipIf(process.getuid?.() === 0)("of files without permission", async () => {
    const root = newDirectory();
    writeFileSync(join(root, "secret"), "x".repeat(100), { mode: 0 });
    const error = await failure(dumpOf(root));
    expect(error).toMatchObject({ code: "permission", path: join(root, "secret") });
    expect(error.message).toBe(`${join(root, "secret")}: permission denied`);
  });
});

describe("programs", () => {
  const env = { COMPOSEFS_SYSCALLS: "commands" };

  it("print no digest without koffi, but what helps", async () => {
    const root = newDirectory();
    mkdirSync(join(root, "usr"));
    for (const [program, words] of [
      [COMPOSEFS, ["compute-id", "--no-repo", root]],
      [COMPOSEFS, ["create-dumpfile", "--no-repo", root]],
      [MKCOMPOSEFS, ["--print-digest-only", root]],
    ] as const) {
      const { status, stdout, stderr } = await run(words, { program, env });
      expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      expect(stderr).toMatch(/^\w+: directories cannot be read: .*koffi.*\nhint: .*npm install koffi/m);
    }
  });

  it("keep the old image whatever fails, and leave nothing else", async () => {
    const root = newDirectory();
    const work = newDirectory();
    const image = join(work, "image");
    writeFileSync(image, "old");
    writeFileSync(join(root, "f"), "x".repeat(100));
    for (const words of [
      [join(root, "none"), image],
      [join(root, "f"), image],
      [work, image],
      ["--digest-store", join(root, "store"), root, image],
      ["--digest-store", join(image, "store"), root, image],
    ]) {
      const { status, stdout, stderr } = await run(words, { program: MKCOMPOSEFS });
      expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      expect(stderr).toMatch(/^mkcomposefs: [^\n]+\n(hint: [^\n]+\n)?$/);
    }
    expect(readFileSync(image, "utf8")).toBe("old");
    expect(readdirSync(work)).toEqual(["image"]);
    expect(existsSync(join(root, "store"))).toBe(false);
    const full = await run([root, "/dev/full"], { program: MKCOMPOSEFS });
    expect(full.status).toBe(1);
    expect(full.stderr).toMatch(/^mkcomposefs: writing \/dev\/full: no space left[^\n]*\nhint: [^\n]+\n$/i);
    const good = await run(["--print-digest", root, image], { program: MKCOMPOSEFS });
    expect(good).toMatchObject({ status: 0, stderr: "" });
    const fd = readFileSync(image);
    expect(good.stdout.trim()).toBe(referenceFsverity("sha256", fd));
  });

  it("refuse a repository inside the directory, and store nothing", async () => {
    const root = newDirectory();
    mkdirSync(join(root, "usr"));
    const repo = join(root, "repo");
    expect((await run(["init", "--insecure", repo])).status).toBe(0);
    const { status, stderr } = await run(["--repo", repo, "create-image", root]);
    expect(status).toBe(2);
    expect(stderr).toContain("the repository would lie in the directory");
    expect(readdirSync(repo).filter((name) => name !== "meta.json")).toEqual([]);
  });
});
