// The merge of /etc against the goldens, and its repetition from any place on random trees.

import { array, assert, constantFrom, oneof, property, record, tuple } from "fast-check";
import { expect, test } from "vitest";
import { compareBytes } from "../../src/bytes/byte-string.ts";
import { type EtcStep, type EtcStrategy, mergeEtc } from "../../src/deploy/etc-merge.ts";
import { Directory } from "../../src/tree/node.ts";
import { deployCases } from "./deploy-goldens.ts";
import { describeTree, type GoldenNode, type GoldenTree, etcTree } from "./etc-trees.ts";

interface Input {
  readonly pristine: GoldenTree;
  readonly current: GoldenTree;
  readonly new: GoldenTree;
  readonly strategy?: EtcStrategy;
}

test.each(deployCases<Input>("etc-merge"))("golden: $name", ({ input, expect: expected }) => {
  const {
    steps: _,
    result,
    ...plan
  } = mergeEtc(etcTree(input.pristine), etcTree(input.current), etcTree(input.new), {
    strategy: input.strategy,
  });
  expect({ ...plan, result: result ? describeTree(result) : null }).toEqual(expected);
});

const path = array(constantFrom("a", "b", "c-", "d"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
const node = record({
  t: constantFrom("f", "d", "d", "l", "p"),
  c: constantFrom("1", "2"),
  m: constantFrom("644", "755", "4755"),
}) as unknown as ReturnType<typeof record<GoldenNode>>;
const tree = array(tuple(path, node), { maxLength: 8 }).map((nodes) => {
  const golden: GoldenTree = {};
  for (const [where, what] of nodes) {
    const above = where
      .split("/")
      .slice(0, -1)
      .map((_, index, all) => all.slice(0, index + 1).join("/"));
    const isFree = above.every((one) => golden[one] === undefined || golden[one].t === "d");
    const isParent = Object.keys(golden).some((one) => one.startsWith(`${where}/`));
    if (isFree && (what.t === "d" || !isParent)) golden[where] = what;
  }
  return golden;
});
// Mostly small changes of the first: that is what an /etc looks like.
const trees = oneof(
  tuple(tree, tree, tree),
  tuple(tree, tree, tree).map(([p, c, n]): [GoldenTree, GoldenTree, GoldenTree] => {
    const over = (base: GoldenTree, more: GoldenTree): GoldenTree => {
      const merged = { ...base };
      for (const [where, what] of Object.entries(more).slice(0, 2)) {
        for (const one of Object.keys(merged))
          if (one.startsWith(`${where}/`) || where.startsWith(`${one}/`)) delete merged[one];
        merged[where] = what;
      }
      return merged;
    };
    return [p, over(p, c), over(p, n)];
  }),
);

// What the executor does, on a tree: a step must find its parent there.
function carryOut(root: Directory, step: EtcStep): void {
  const parts = step.path.split("/");
  const name = parts.pop() as string;
  let directory = root;
  for (const part of parts) {
    const below = directory.entries.get(part);
    if (!(below instanceof Directory)) throw new Error(`${step.path}: ${part} is no directory`);
    directory = below;
  }
  const old = directory.entries.get(name);
  if (step.action === "remove") directory.entries.delete(name);
  else if (step.action === "directory") {
    const made = old ?? new Directory(step.node.stat);
    if (!(made instanceof Directory)) throw new Error(`${step.path} is no directory`);
    made.stat = step.node.stat;
    directory.entries.set(name, made);
  } else {
    if (old instanceof Directory) throw new Error(`${step.path} is a directory`);
    directory.entries.set(name, step.node);
  }
}

test("carrying out the steps gives the result, and repeating the merge from any place between gives it again", () => {
  let merged = 0;
  assert(
    property(trees, constantFrom<EtcStrategy>("fail", "keep-local", "take-image"), ([p, c, n], strategy) => {
      const merge = (next: Directory) => mergeEtc(etcTree(p), etcTree(c), next, { strategy });
      const { steps, result } = merge(etcTree(n));
      if (!result) return;
      merged++;
      const wanted = describeTree(result);
      const between = etcTree(n);
      for (const step of steps) {
        carryOut(between, step);
        const again = merge(between);
        expect(again.result && describeTree(again.result)).toEqual(wanted);
      }
      expect(describeTree(between)).toEqual(wanted);
      expect(merge(between).steps).toEqual([]);
    }),
    { numRuns: 1500 },
  );
  expect(merged).toBeGreaterThan(700);
});

test("without local changes the image's /etc is taken, without changes of the image the local one", () => {
  assert(
    property(tree, tree, (p, n) => {
      const plain = Object.fromEntries(Object.entries(n).filter(([, { t }]) => t !== "p"));
      expect(mergeEtc(etcTree(p), etcTree(p), etcTree(plain)).steps).toEqual([]);
      const { result } = mergeEtc(etcTree(plain), etcTree(p), etcTree(plain));
      const local = Object.entries(describeTree(etcTree(p))).filter(([, { t }]) => t !== "p");
      // A pipe in the place of a file is no deletion: the file stays.
      if (Object.values(p).every(({ t }) => t !== "p"))
        expect(Object.entries(describeTree(result as Directory)).sort(([a], [b]) => compareBytes(a, b))).toEqual(
          local.sort(([a], [b]) => compareBytes(a, b)),
        );
    }),
    { numRuns: 500 },
  );
});

test("without root, owners and the attributes that only root writes do not count", () => {
  const pristine = etcTree({ a: { c: "1", u: 5, x: { "security.selinux": "l", "user.k": "v" } } });
  const seeded = etcTree({ a: { c: "1", u: 1000, x: { "user.k": "v" } } });
  const next = () => etcTree({ a: { c: "2" } });
  expect(mergeEtc(pristine, seeded, next(), { owners: false }).modified).toEqual([]);
  expect(mergeEtc(pristine, seeded, next()).modified).toEqual(["a"]);
  const changed = etcTree({ a: { c: "1", x: { "user.k": "w" } } });
  expect(mergeEtc(pristine, changed, next(), { owners: false }).modified).toEqual(["a"]);
});
