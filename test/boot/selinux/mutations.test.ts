// Recorded policies and boot entries with bytes changed, removed, doubled and put in: whatever comes of it is a tree with labels, or an
// error of a known class that names file and line (docs/spec/boot.md, section 15).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { discoverBootResources } from "../../../src/boot/discover.ts";
import { labelTree } from "../../../src/boot/selinux/label.ts";
import { loadPolicy } from "../../../src/boot/selinux/policy.ts";
import { ComposefsError } from "../../../src/error.ts";
import { type BootTreeEntry, bootTree } from "../../fixtures/boot-tree.ts";
import { seededRandom } from "../../fixtures/random.ts";
import { goldensDir } from "../../goldens-dir.ts";

interface Policy {
  id: string;
  config: string | null;
  policy: string;
  policy_files: Record<string, string>;
  tree: BootTreeEntry[];
}

interface Entries {
  id: string;
  tree: BootTreeEntry[];
}

const read = <T>(file: string) =>
  (JSON.parse(readFileSync(join(goldensDir("boot"), file), "utf8")) as { cases: T[] }).cases;
const policies = read<Policy>("selabel.json");
const entries = read<Entries>("discover.json").filter(({ tree }) => tree.some(({ p }) => p.endsWith(".conf")));

/** Bytes that mean something to one parser or another. */
const BYTES = Buffer.from("()[]{}*+?|\\^$.-/ \t\r\n#=<>!:,&~1aQbPk\0\xff\xc3\xa9", "latin1");

function mutate(text: Buffer, random: () => number): Buffer {
  let bytes = Buffer.from(text);
  const below = (limit: number) => Math.floor(random() * limit);
  for (let count = 1 + below(4); count > 0; count--) {
    const at = below(bytes.length + 1);
    const before = bytes.subarray(0, at);
    const byte = Buffer.from([BYTES[below(BYTES.length)] ?? 0]);
    const kind = below(4);
    if (kind === 0) bytes = Buffer.concat([before, byte, bytes.subarray(at)]);
    else if (kind === 1) bytes = Buffer.concat([before, byte, bytes.subarray(at + 1)]);
    else if (kind === 2) bytes = Buffer.concat([before, bytes.subarray(at + 1 + below(6))]);
    else bytes = Buffer.concat([before, bytes.subarray(at, at + 20), bytes.subarray(at)]);
  }
  return bytes;
}

const entryOf = (p: string, bytes: Buffer): BootTreeEntry => ({ p, t: "f", hex: bytes.toString("hex") });

const LINES = [
  "selinux-missing-context",
  "selinux-bad-type",
  "selinux-trailing-data",
  "selinux-missing-original",
  "selinux-bad-regex",
];
const OTHERS = [
  "not-utf8",
  "not-found",
  "invalid-name",
  "not-a-directory",
  "selinux-no-file-contexts",
  "is-a-directory",
];

it("there is something to change", () => {
  expect(policies.length).toBeGreaterThan(50);
  expect(entries.length).toBeGreaterThan(5);
});

describe("policies", () => {
  it.each(policies)("$id", async ({ config, policy, policy_files: files, tree }) => {
    const random = seededRandom(policy.length + tree.length + Object.values(files).join("").length);
    const names = Object.keys(files);
    for (let round = 0; round < 60; round++) {
      const changed = Math.floor(random() * (names.length + 1));
      const text = (content: string, index: number) =>
        index === changed ? mutate(Buffer.from(content), random) : Buffer.from(content);
      const all = names.map((name, i) =>
        entryOf(`/etc/selinux/${policy}/contexts/files/${name}`, text(files[name] ?? "", i)),
      );
      if (config !== null) all.push(entryOf("/etc/selinux/config", text(config, names.length)));
      const root = bootTree([...tree, ...all]);
      try {
        const loaded = await loadPolicy(root, () => new Uint8Array());
        if (loaded !== undefined) await labelTree(root, loaded);
      } catch (error) {
        expect(error).toBeInstanceOf(ComposefsError);
        const { code, reason, path, line, message } = error as ComposefsError;
        expect([code, [...LINES, ...OTHERS].includes(reason ?? "")]).toEqual(["invalid", true]);
        expect(path).toMatch(/^\/etc\/selinux/);
        if (!LINES.includes(reason ?? "")) continue;
        expect(line).toBeGreaterThan(0);
        expect(message).toContain(`${path}, line ${line}: `);
      }
    }
  });
});

describe("boot entries", () => {
  it.each(entries)("$id", async ({ tree }) => {
    const random = seededRandom(tree.length);
    for (let round = 0; round < 200; round++) {
      const changed = tree.map((entry) =>
        entry.p.endsWith(".conf") && entry.t === "f"
          ? entryOf(
              entry.p,
              mutate(entry.hex === undefined ? Buffer.from(entry.c ?? "") : Buffer.from(entry.hex, "hex"), random),
            )
          : entry,
      );
      try {
        await discoverBootResources(bootTree(changed), () => new Uint8Array());
      } catch (error) {
        expect(error).toBeInstanceOf(ComposefsError);
        const { code, reason, path, message } = error as ComposefsError;
        expect(code).toBe("invalid");
        expect(["not-found", "not-regular", "is-a-directory", "not-a-directory", "invalid-name", "not-utf8"]).toContain(
          reason,
        );
        expect(message).toContain(path);
      }
    }
  });
});
