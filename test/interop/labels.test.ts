// SELinux labels against those who know: cfsctl, for every expression of test/boot/selinux/dialect.json, and libselinux's own
// selabel_lookup with the policy of Debian, from which the labels of composefs differ only where lintLabels says so
// (docs/spec/boot.md, sections 3.4 and 3.6).

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ByteString } from "../../src/bytes/byte-string.ts";
import { directoryBodies } from "../../src/boot/directory-bodies.ts";
import { LABEL_XATTR, labelTree, typeByte } from "../../src/boot/selinux/label.ts";
import { lintLabels } from "../../src/boot/selinux/lint.ts";
import { loadPolicy, type Policy } from "../../src/boot/selinux/policy.ts";
import { directoryTree } from "../../src/tree/directory-tree.ts";
import { Directory, type Node } from "../../src/tree/node.ts";
import recorded from "../boot/selinux/dialect.json" with { type: "json" };
import { bootableDebian } from "../fixtures/debian.ts";
import { describeWithPeers, peer, runPeer } from "../peer.ts";

const work = mkdtempSync(join(tmpdir(), "composefs-labels-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

describeWithPeers(["cfsctl"], "expressions", () => {
  const root = join(work, "root");
  const contexts = join(root, "etc/selinux/t/contexts/files");

  beforeAll(() => {
    for (const path of ["usr", "boot", "sysroot", "t", "etc/selinux/t/contexts/files"])
      mkdirSync(join(root, path), { recursive: true });
    writeFileSync(join(root, "etc/selinux/config"), "SELINUXTYPE=t\n");
    for (const name of recorded.names) writeFileSync(Buffer.from(`${root}/t/${name}`, "latin1"), "");
  });

  it("match in cfsctl what is recorded", () => {
    const unescape = (text: string) =>
      text.replace(/\\(x..|[nrt\\])/g, (_, what: string) =>
        what.startsWith("x")
          ? String.fromCharCode(Number.parseInt(what.slice(1), 16))
          : ({ n: "\n", r: "\r", t: "\t" }[what] ?? what),
      );
    for (const { regex, names } of recorded.cases) {
      writeFileSync(join(contexts, "file_contexts"), `/t/${regex} u:hit\n`);
      const { status, stdout } = runPeer("cfsctl", ["--no-repo", "create-dumpfile", "--bootable", root]);
      const hits = stdout
        .split("\n")
        .filter((line) => line.startsWith("/t/") && line.includes("security.selinux=u:hit"))
        .map((line) => unescape(line.split(" ")[0] ?? "").slice("/t/".length));
      expect([regex, status === 0 ? hits.toSorted() : null]).toEqual([regex, names?.toSorted() ?? null]);
    }
  });
});

/** Every node with its path. */
function* nodes(root: Directory): Generator<[ByteString, Node]> {
  yield ["/", root];
  const pending: [ByteString, Directory][] = [["", root]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [name, node] of next[1].entries as Iterable<[string, Node]>) {
      const path = `${next[0]}/${name}`;
      yield [path, node];
      if (node instanceof Directory) pending.push([path, node]);
    }
  }
}

function selabelLookup(fileContexts: string, questions: readonly [ByteString, Node][]): (string | undefined)[] {
  const input = Buffer.from(questions.map(([path, node]) => `${typeByte(node)}${path}\0`).join(""), "latin1");
  const program = fileURLToPath(new URL("selabel-lookup.py", import.meta.url));
  const output = execFileSync(peer("python3"), [program, fileContexts], { input, maxBuffer: 1 << 30 });
  return output
    .toString("latin1")
    .split("\0")
    .slice(0, -1)
    .map((label) => (label === "" ? undefined : label));
}

describeWithPeers(["python3", "mmdebstrap", "zstd"], "the policy of Debian", () => {
  let root: Directory;
  let policy: Policy;
  let fileContexts: string;

  beforeAll(async () => {
    const { directory, contexts } = bootableDebian();
    ({ root } = await directoryTree(directory, { algorithms: ["sha256"] }));
    policy = (await loadPolicy(root, directoryBodies(directory))) as Policy;
    // Not the compiled files, which libselinux prefers.
    fileContexts = join(work, "file_contexts");
    for (const name of readdirSync(contexts))
      if (name.startsWith("file_contexts") && !name.endsWith(".bin")) cpSync(join(contexts, name), join(work, name));
  }, 900_000);

  it("has thousands of rules", () => expect(policy.rules.length).toBeGreaterThan(5000));

  it("labels every file as libselinux does, except where composefs differs, and says where that is", async () => {
    const all = [...nodes(root)];
    expect(all.length).toBeGreaterThan(10_000);
    const expected = selabelLookup(fileContexts, all);
    const differences = new Map(lintLabels(root, policy).map((difference) => [difference.path, difference]));
    await labelTree(root, policy);
    const labels = new Map([...nodes(root)].map(([path, node]) => [path, node.stat.xattrs.get(LABEL_XATTR)]));
    const causes = new Set<string>();
    for (const [i, [path]] of all.entries()) {
      const difference = differences.get(path);
      if (difference !== undefined) causes.add(difference.cause);
      const told = difference === undefined ? labels.get(path) : difference.expected;
      expect([path, told]).toEqual([path, expected[i]]);
      if (difference !== undefined) expect([path, labels.get(path)]).toEqual([path, difference.label]);
    }
    expect([...causes].toSorted()).toEqual(expect.arrayContaining(["dollar", "exact-rule"]));
    expect(differences.size).toBeLessThan(all.length / 10);
  });
});
