// Where the policy of an image is looked for, what is refused, and where libselinux would label otherwise (docs/spec/boot.md, sections
// 3.1, 3.5 and 3.6).

import { describe, expect, it } from "vitest";
import type { ReadFile } from "../../../src/boot/resource.ts";
import { followPath } from "../../../src/boot/selinux/follow.ts";
import { LABEL_XATTR, labelTree, stripLabels } from "../../../src/boot/selinux/label.ts";
import { lintLabels } from "../../../src/boot/selinux/lint.ts";
import { loadPolicy, type Policy } from "../../../src/boot/selinux/policy.ts";
import { policyName } from "../../../src/boot/selinux/policy-text.ts";
import { Directory, Leaf, NO_XATTRS } from "../../../src/tree/node.ts";
import { type BootTreeEntry, bootTree, directoryAt } from "../../fixtures/boot-tree.ts";

const FILES = "/etc/selinux/t/contexts/files";
const inline: ReadFile = () => {
  throw new Error("every file here is inline");
};
const config: BootTreeEntry = { p: "/etc/selinux/config", t: "f", c: "SELINUXTYPE=t\n" };
const contexts = (c: string, suffix = ""): BootTreeEntry => ({ p: `${FILES}/file_contexts${suffix}`, t: "f", c });
const load = (entries: BootTreeEntry[], followLinks = false) => loadPolicy(bootTree(entries), inline, { followLinks });

describe("the policy", () => {
  it.each([
    ["SELINUXTYPE=a", "a"],
    ["\u00a0selinuxTYPE\u2003=\u0085a\u3000\r\nSELINUXTYPE=b", "a"],
    ["\ufeffSELINUXTYPE=a\n", undefined],
    ["\ufeffSELINUXTYPE=a\nSELINUXTYPE=b", "b"],
    ["SELINUXTYPE\nSELINUXTYPE==a", "=a"],
    ["#SELINUXTYPE=a", undefined],
    ["SELINUXTYPE=a b # c", "a b # c"],
    ["\u017fELINUXTYPE=a", undefined],
    ["", undefined],
  ])("in the config %j is %j", (text, name) => expect(policyName(text)).toBe(name));

  it.each([".", "./t", "t/.", "..", "t/../t"])("cannot be called %s", async (name) => {
    for (const followLinks of [false, true])
      await expect(
        load([{ ...config, c: `SELINUXTYPE=${name}\n` }, contexts("/ u:x\n")], followLinks),
      ).rejects.toMatchObject({ reason: "invalid-name", path: "/etc/selinux/config" });
  });

  it.each<[string, BootTreeEntry[], string]>([
    ["selinux", [{ p: "/etc/selinux", t: "f" }], "not-a-directory"],
    ["etc", [{ p: "/etc", t: "f" }], "not-a-directory"],
    ["config", [{ p: "/etc/selinux/config", t: "d" }], "is-a-directory"],
    ["config", [{ p: "/etc/selinux/config", t: "p" }], "not-regular"],
    ["config", [{ p: "/etc/selinux/config", t: "f", hex: "ff" }], "not-utf8"],
    ["/t", [config, { p: "/etc/selinux/t", t: "f" }], "not-a-directory"],
    ["file_contexts", [config, { p: `${FILES}/file_contexts`, t: "d" }], "is-a-directory"],
    ["file_contexts", [config, { p: `${FILES}/file_contexts`, t: "f", hex: "2f20ff" }], "not-utf8"],
    ["subs", [config, contexts(""), { p: `${FILES}/file_contexts.subs`, t: "s" }], "not-regular"],
    ["homedirs", [config, contexts(""), { p: `${FILES}/file_contexts.homedirs`, t: "d" }], "is-a-directory"],
  ])("is refused when %s is something else", async (path, entries, reason) => {
    await expect(load(entries)).rejects.toMatchObject({
      code: "invalid",
      reason,
      path: expect.stringContaining(path) as string,
    });
  });

  it("may not be huge", async () => {
    const root = bootTree([config, contexts("")]);
    directoryAt(root, FILES).entries.set(
      "file_contexts",
      new Leaf(
        { mode: 0, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS },
        { kind: "external", size: 2 ** 33, digest: "0".repeat(64) },
      ),
    );
    await expect(loadPolicy(root, inline)).rejects.toMatchObject({ code: "limit" });
  });

  it("is behind links only where they are followed, and stays inside the tree", async () => {
    const linked: BootTreeEntry[] = [
      { p: "/etc/selinux", t: "l", to: "../usr/share/selinux" },
      { p: "/usr/share/selinux/config", t: "l", to: "/usr/config" },
      { p: "/usr/config", t: "f", c: "SELINUXTYPE=t\n" },
      { p: "/usr/share/selinux/t", t: "l", to: "../../../../../../policy/./x" },
      { p: "/policy/x/contexts/files/file_contexts", t: "f", c: "/ u:x\n" },
    ];
    await expect(load(linked)).rejects.toMatchObject({ reason: "not-a-directory" });
    expect((await load(linked, true))?.rules).toMatchObject([{ regex: "/", context: "u:x" }]);
    const circle: BootTreeEntry[] = [{ p: "/etc/selinux", t: "l", to: "selinux" }];
    await expect(load(circle, true)).rejects.toMatchObject({ reason: "invalid-name" });
    expect(followPath(bootTree(linked), "usr/share/selinux/t/../x")).toMatchObject({ path: "/policy/x" });
  });
});

describe("labels", () => {
  it("replace old ones and leave other xattrs, shared where they were", async () => {
    const root = bootTree([config, contexts("/a u:a\n"), { p: "/a", t: "f" }, { p: "/b", t: "f" }]);
    const xattrs = new Map([
      [LABEL_XATTR, "old"],
      ["user.x", "1"],
    ]);
    for (const node of root.entries.values()) node.stat = { ...node.stat, xattrs };
    await labelTree(root, (await loadPolicy(root, inline)) as Policy);
    expect(Object.fromEntries(root.entries.get("a")?.stat.xattrs ?? [])).toEqual({
      "user.x": "1",
      [LABEL_XATTR]: "u:a",
    });
    expect(Object.fromEntries(root.entries.get("b")?.stat.xattrs ?? [])).toEqual({ "user.x": "1" });
    expect(root.entries.get("b")?.stat.xattrs).toBe(root.entries.get("etc")?.stat.xattrs);
    stripLabels(root);
    expect(Object.fromEntries(root.entries.get("a")?.stat.xattrs ?? [])).toEqual({ "user.x": "1" });
  });

  it("reach directories as deep as any image has them, and can be interrupted", async () => {
    const root = bootTree([config, contexts("(/.*)? u:x\n")]);
    let directory = root;
    for (let depth = 0; depth < 20_000; depth++) {
      const below = new Directory(directory.stat);
      directory.entries.set("d", below);
      directory = below;
    }
    const policy = (await loadPolicy(root, inline)) as Policy;
    await labelTree(root, policy);
    expect(directory.stat.xattrs.get(LABEL_XATTR)).toBe("u:x");
    await expect(labelTree(root, policy, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("what libselinux does otherwise", () => {
  const lint = async (entries: BootTreeEntry[]) => {
    const root = bootTree([config, ...entries]);
    const policy = (await loadPolicy(root, inline)) as Policy;
    return lintLabels(root, policy).map(({ path, label, expected, cause, expectedRule }) => ({
      path,
      label,
      expected,
      cause,
      line: expectedRule?.line,
    }));
  };

  it("prefers rules without meta characters, also escaped ones", async () => {
    const tree: BootTreeEntry[] = [contexts("/a\\.b u:exact\n/.* u:all\n"), { p: "/a.b", t: "f" }, { p: "/c", t: "f" }];
    expect(await lint(tree)).toEqual([
      { path: "/a.b", label: "u:all", expected: "u:exact", cause: "exact-rule", line: 1 },
    ]);
  });

  it("lets .local win over .homedirs", async () => {
    const tree = [
      contexts("/.* u:all\n"),
      contexts("/a.? u:local\n", ".local"),
      contexts("/a.? u:home\n", ".homedirs"),
    ];
    expect(await lint([...tree, { p: "/a", t: "f" }])).toEqual([
      { path: "/a", label: "u:home", expected: "u:local", cause: "local-rule", line: 1 },
    ]);
  });

  it("lets a dollar end a rule", async () => {
    expect(
      await lint([contexts("/.* u:all\n/a.*$ u:a\n/b\\$ u:b\n"), { p: "/ab", t: "f" }, { p: "/b$", t: "f" }]),
    ).toEqual([{ path: "/ab", label: "u:all", expected: "u:a", cause: "dollar", line: 2 }]);
  });

  it("replaces aliases by prefix", async () => {
    const rules = contexts("/.* u:all\n/y(/.*)? u:y\n/usr/lib(/.*)? u:lib\n");
    const aliases = contexts("/lib64 /usr/lib\n/lib64/sub /y\n", ".subs");
    expect(await lint([rules, aliases, { p: "/lib64/sub/x", t: "f" }])).toMatchObject([
      { path: "/lib64/sub", label: "u:lib", expected: "u:y", cause: "alias" },
      { path: "/lib64/sub/x", label: "u:lib", expected: "u:y", cause: "alias" },
    ]);
  });

  it("is nothing for most policies", async () => {
    expect(await lint([contexts("/.* u:all\n/a(/.*)? u:a\n/a/b u:b\n"), { p: "/a/b", t: "f" }])).toEqual([]);
  });
});
