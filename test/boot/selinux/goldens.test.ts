// Labels of every recorded tree and policy (test/goldens/boot/selabel.json).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ByteString } from "../../../src/bytes/byte-string.ts";
import { LABEL_XATTR, labelTree, stripLabels } from "../../../src/boot/selinux/label.ts";
import { loadPolicy } from "../../../src/boot/selinux/policy.ts";
import { ComposefsError } from "../../../src/error.ts";
import { Directory, Leaf, type Node } from "../../../src/tree/node.ts";
import { type BootTreeEntry, bootTree } from "../../fixtures/boot-tree.ts";
import { goldensDir } from "../../goldens-dir.ts";

interface Case {
  id: string;
  config: string | null;
  policy: string;
  policy_files: Record<string, string>;
  tree: BootTreeEntry[];
  expect: {
    labelled?: boolean;
    labels?: Record<string, string | null>;
    shared_inodes?: string[][];
    error?: string;
    line?: number;
  };
}

const { cases } = JSON.parse(readFileSync(join(goldensDir("boot"), "selabel.json"), "utf8")) as { cases: Case[] };

function treeOf({ config, policy, policy_files: files, tree }: Case): Directory {
  const entries: BootTreeEntry[] = [...tree];
  if (config !== null) entries.push({ p: "/etc/selinux/config", t: "f", c: config });
  for (const [name, c] of Object.entries(files))
    entries.push({ p: `/etc/selinux/${policy}/contexts/files/${name}`, t: "f", c });
  return bootTree(entries);
}

/** Every path of a tree but those below /etc/selinux. */
function* paths(root: Directory): Generator<[ByteString, Node]> {
  yield ["/", root];
  const pending: [ByteString, Directory][] = [["", root]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [path, directory] = next;
    for (const [name, node] of directory.entries as Iterable<[string, Node]>) {
      const at = `${path}/${name}`;
      if (at === "/etc/selinux") continue;
      yield [at, node];
      if (node instanceof Directory) pending.push([at, node]);
    }
  }
}

const display = (value: ByteString) => Buffer.from(value, "latin1").toString("utf8");

describe("recorded policies", () => {
  it("are there", () => expect(cases.length).toBeGreaterThan(50));

  it.each(cases)("$id", async (recorded) => {
    const root = treeOf(recorded);
    for (const followLinks of [false, true]) {
      const label = async () => {
        const policy = await loadPolicy(root, () => new Uint8Array(), { followLinks });
        if (policy === undefined) stripLabels(root);
        else await labelTree(root, policy);
        return policy !== undefined;
      };
      const expected = recorded.expect;
      if (expected.error !== undefined) {
        const error = await label().catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(ComposefsError);
        const { code, reason, line, path } = error as ComposefsError;
        // In a directory a policy that is missing is one without file_contexts.
        const known = followLinks && expected.error === "not-found" ? "selinux-no-file-contexts" : expected.error;
        expect({ code, reason }).toEqual({ code: "invalid", reason: known });
        expect(path).toMatch(/^\/etc\/selinux/);
        if (expected.line !== undefined) expect(line).toBe(expected.line + 1);
        if (known === "selinux-bad-regex") expect(line).toBeGreaterThan(0);
        continue;
      }
      expect(await label()).toBe(expected.labelled);
      const labels: Record<string, string | null> = {};
      const names = new Map<Leaf, string[]>();
      for (const [path, node] of paths(root)) {
        const value = node.stat.xattrs.get(LABEL_XATTR);
        labels[display(path)] = value === undefined ? null : display(value);
        if (node instanceof Leaf) names.set(node, [...(names.get(node) ?? []), display(path)]);
      }
      expect(labels).toEqual(expected.labels);
      const shared = [...names.values()].filter((group) => group.length > 1).map((group) => group.toSorted());
      expect(shared.toSorted((a, b) => ((a[0] ?? "") < (b[0] ?? "") ? -1 : 1))).toEqual(expected.shared_inodes ?? []);
    }
  });
});
