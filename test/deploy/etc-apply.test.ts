// The merge of /etc on real directories: the goldens, hard links and links that lead outside, and every place where it can be cut.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcApplyOptions, mergeEtcDirectories } from "../../src/deploy/etc-apply.ts";
import type { EtcStrategy } from "../../src/deploy/etc-merge.ts";
import type { ComposefsError } from "../../src/error.ts";
import { type MergeCalls, mergeCalls } from "../../src/runtime/merge-calls.ts";
import { Directory } from "../../src/tree/node.ts";
import { scanDirectory } from "../../src/tree/scan/scan.ts";
import { type EntrySpec, makeDirectory } from "../fixtures/directory.ts";
import { deployCases } from "./deploy-goldens.ts";
import { describeTree, type GoldenNode, type GoldenTree, etcTree } from "./etc-trees.ts";

const owners = process.getuid?.() === 0;
let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-etc-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const TYPES = { f: "file", d: "dir", l: "symlink", p: "fifo" } as const;

function specOf([path, node]: [string, GoldenNode]): EntrySpec {
  const { t = "f", m, u = 0, g = 0, c = "", x = {} } = node;
  const xattrs = Object.fromEntries(
    Object.entries(x).map(([name, value]) => [name, Buffer.from(value).toString("hex")]),
  );
  const common = {
    path: `/${path}`,
    type: TYPES[t],
    mode: m ?? (t === "d" ? "755" : "644"),
    uid: u,
    gid: g,
    xattrs,
    mtime: "1.5",
  };
  if (t === "l") return { ...common, target: c };
  return t === "f" ? { ...common, content: { text: c } } : common;
}

// A directory on disk of what a golden describes, and whether the file system took all of it.
function make(golden: GoldenTree): { path: string; complete: boolean } {
  const path = join(work, String(count++));
  mkdirSync(path);
  const nodes = Object.entries(describeTree(etcTree(golden))).sort(([a], [b]) => (a < b ? -1 : 1));
  const refused = makeDirectory(path, [{ path: "/", type: "dir", mode: "755" }, ...nodes.map(specOf)]);
  return { path, complete: refused.every(({ what }) => what === "owner") };
}

// Without root, owners cannot be told apart.
function comparable(tree: GoldenTree): GoldenTree {
  if (owners) return tree;
  return Object.fromEntries(Object.entries(tree).map(([path, node]) => [path, { ...node, u: 0, g: 0 }]));
}

async function found(path: string): Promise<GoldenTree> {
  const { root } = await scanDirectory(path, { algorithms: ["sha512"] });
  return comparable(describeTree(root));
}

interface Input {
  readonly pristine: GoldenTree;
  readonly current: GoldenTree;
  readonly new: GoldenTree;
  readonly strategy?: EtcStrategy;
}

const cases = deployCases<Input, { result: GoldenTree | null }>("etc-merge").filter(
  // Owners other than one's own are only there for root.
  ({ name }) => owners || !name.startsWith("owner-"),
);

describe.each(cases)("golden: $name", ({ input, expect: { result } }) => {
  const options: EtcApplyOptions = { strategy: input.strategy, owners };

  test("on disk, also when cut before any call", async () => {
    const pristine = etcTree(input.pristine);
    const current = make(input.current);
    const before = await found(current.path);
    for (let cut = 0; ; cut++) {
      const next = make(input.new);
      if (!current.complete || !next.complete) return;
      const calls = cutBefore(cut);
      const done = await mergeEtcDirectories(pristine, current.path, next.path, { ...options, calls }).then(
        () => true,
        (error: unknown) => {
          if ((error as ComposefsError).code !== "io") throw error;
          return false;
        },
      );
      if (!done) await mergeEtcDirectories(pristine, current.path, next.path, options);
      expect(await found(next.path)).toEqual(comparable(result ?? describeTree(etcTree(input.new))));
      const again = await mergeEtcDirectories(pristine, current.path, next.path, { ...options, dryRun: true });
      expect(again.steps).toEqual([]);
      rmSync(next.path, { recursive: true });
      if (done) break;
    }
    expect(await found(current.path)).toEqual(before);
  });
});

/** The calls, the one of that number and all that follow fail. */
function cutBefore(number: number): MergeCalls {
  let left = number;
  const real = mergeCalls();
  return new Proxy(real, {
    get(target, name: keyof MergeCalls) {
      const call = target[name] as (...args: unknown[]) => unknown;
      return (...args: unknown[]): unknown => {
        if (left-- <= 0) throw Object.assign(new Error("EIO"), { code: "EIO" });
        return call(...args);
      };
    },
  });
}

test("names of one file stay names of one file, large content and times are exact", async () => {
  const current = make({ "d/a": { c: "x" } });
  const content = Buffer.alloc(700_001, "0123456789abcdef\n");
  writeFileSync(join(current.path, "d/big"), content);
  const names: EntrySpec[] = [
    { path: "/l1", type: "file", content: { text: "shared" }, mtime: "5.000000007" },
    { path: "/d/l2", type: "hardlink", target: "/l1" },
  ];
  makeDirectory(current.path, names);
  const next = make({ "d/a": { c: "x" } });
  const { added } = await mergeEtcDirectories(etcTree({ "d/a": { c: "x" } }), current.path, next.path, { owners });
  expect(added).toEqual(["d/big", "d/l2", "l1"]);
  expect(readFileSync(join(next.path, "d/big")).equals(content)).toBe(true);
  const [one, two] = ["l1", "d/l2"].map((name) => statSync(join(next.path, name), { bigint: true }));
  expect(two?.ino).toBe(one?.ino);
  // Deno's stat knows milliseconds only.
  const { root } = await scanDirectory(next.path);
  expect(root.entries.get("l1")?.stat).toMatchObject({ mtimeSec: 5n, mtimeNsec: 7 });
  expect(readFileSync(join(next.path, "l1"), "utf8")).toBe("shared");
});

test("nothing is written or removed through a symlink of the image", async () => {
  const outside = join(work, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "a"), "victim");
  const current = make({ d: { t: "d" }, "d/b": { c: "mine" } });
  const next = make({});
  symlinkSync(outside, join(next.path, "d"));
  const pristine = etcTree({ d: { t: "d" }, "d/a": { c: "1" } });
  for (const strategy of ["fail", "take-image", "keep-local"] as const) {
    const { conflicts } = await mergeEtcDirectories(pristine, current.path, next.path, { strategy, owners });
    expect(conflicts).toEqual([{ path: "d", kind: "directory-vs-nondirectory" }]);
    expect(readFileSync(join(outside, "a"), "utf8")).toBe("victim");
  }
  expect(await found(outside)).toEqual(comparable({ a: { t: "f", c: "victim", m: "644", u: 0, g: 0 } }));
  expect(statSync(join(next.path, "d/b")).isFile()).toBe(true);
});

test("a dry run writes nothing, and an error names the path", async () => {
  const current = make({ a: { c: "mine" } });
  const next = make({ a: { c: "1" } });
  const pristine = new Directory((await scanDirectory(next.path)).root.stat);
  const { steps } = await mergeEtcDirectories(pristine, current.path, next.path, { dryRun: true, owners });
  expect(steps.map(({ action, path }) => [action, path])).toEqual([["leaf", "a"]]);
  expect(readFileSync(join(next.path, "a"), "utf8")).toBe("1");
  await expect(
    mergeEtcDirectories(pristine, current.path, next.path, { owners, calls: cutBefore(5) }),
  ).rejects.toMatchObject({ code: "io", path: join(next.path, "a") });
  await expect(mergeEtcDirectories(pristine, current.path, join(next.path, "no"), { owners })).rejects.toMatchObject({
    code: "not-found",
  });
  const aborted = AbortSignal.abort();
  await expect(
    mergeEtcDirectories(pristine, current.path, next.path, { owners, signal: aborted }),
  ).rejects.toMatchObject({ code: "aborted" });
});

test("attributes that a user may not set are left alone", async () => {
  const current = make({ a: { c: "mine", x: { "user.k": "v" } } });
  if (!current.complete) return;
  const next = make({ a: { c: "1" } });
  const run = (xattrs: "user" | "none") =>
    mergeEtcDirectories(etcTree({ a: { c: "1" } }), current.path, next.path, { owners: false, xattrs });
  await run("none");
  expect((await found(next.path))["a"]?.x).toBeUndefined();
  await run("user");
  expect((await found(next.path))["a"]?.x).toEqual({ "user.k": "v" });
});
