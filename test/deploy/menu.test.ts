// Entries of the menu and the composefs argument against the goldens of deployments.

import { constantFrom, array, assert, property } from "fast-check";
import { expect, test } from "vitest";
import { parseBootEntry } from "../../src/boot/entry/bls.ts";
import { sortMenu, type BootLoader } from "../../src/boot/entry/order.ts";
import { readComposefsArgument } from "../../src/boot/kargs/composefs-argument.ts";
import { readMenu } from "../../src/deploy/menu.ts";
import { bootEntryIdentity, entryErrorCode } from "../../src/deploy/menu-entry.ts";
import { isDeploymentId, type NamedText } from "../../src/deploy/state.ts";
import { deployCases } from "./deploy-goldens.ts";

test.each(deployCases<string>("cmdline"))("golden command line: $name", ({ input, expect: expected }) => {
  const found = readComposefsArgument(input, "sha512");
  const described = found?.version === undefined ? {} : { format: found.version, algorithm: "sha512" };
  expect(
    found ? { digest: found.digest, allowMissing: found.insecure, source: found.source, ...described } : null,
  ).toEqual(expected);
});

function parsed(text: string): unknown {
  try {
    const entry = parseBootEntry(text);
    const common = { version: entry.version, sortKey: entry.sortKey ?? null, title: entry.title ?? null };
    const identity = bootEntryIdentity(entry, "sha512");
    if (!identity) return { foreign: true, ...common };
    const { kind, verity, artifact } = identity;
    return { kind, verity, artifact: artifact?.name ?? null, hasPrefix: artifact?.prefixed ?? false, ...common };
  } catch (error) {
    return { error: entryErrorCode(error) };
  }
}

test.each(deployCases<string | { bootloader: BootLoader; entries: NamedText[] }>("bootentry"))(
  "golden entry: $name",
  ({ op, input, expect: expected }) => {
    if (op === "parse") return expect(parsed(input as string)).toEqual(expected);
    if (op !== "order") throw new Error(`unknown operation ${op}`);
    const { bootloader, entries } = input as { bootloader: BootLoader; entries: NamedText[] };
    const items = entries.map(([name, text]) => ({ name, entry: parseBootEntry(text) }));
    expect(sortMenu(bootloader, items).map(({ name }) => name)).toEqual(expected);
    return expect(readMenu({ bootloader, boot: { entries } }).active.entries.map(({ file }) => file)).toEqual(expected);
  },
);

test("ids that are paths or too long make an entry invalid, and are no part of any set", () => {
  const entry = (id: string) => `version 1\nlinux /a/k\noptions composefs=${id}\n`;
  const bad = ["../../etc", "..", ".", "a/b", "a b".replace(" ", "\u00a0"), "x".repeat(256), "é"];
  const files = bad.map((id, index): NamedText => [`${index}.conf`, entry(id)]);
  const { active, warnings } = readMenu({ bootloader: "systemd", boot: { entries: files } });
  expect(active.entries).toEqual([]);
  expect(warnings).toEqual(files.map(([file]) => ({ code: "W_BAD_BOOT_ENTRY", file })));
  expect(["a", "A-1._", "...", "x".repeat(255)].filter((id) => !isDeploymentId(id))).toEqual([]);
});

test("an entry that is not UTF-8 is damaged, and protects what it names", () => {
  const entries: NamedText[] = [
    ["a.conf", "title \ufffd\nversion 1\nlinux /bootc_composefs-k/v\noptions composefs=x\n"],
  ];
  const { active, warnings } = readMenu({ bootloader: "systemd", boot: { entries } });
  expect(warnings).toEqual([{ code: "W_BAD_BOOT_ENTRY", file: "a.conf" }]);
  expect(active).toMatchObject({ entries: [], broken: [{ verity: "x", artifact: { name: "k" } }] });
});

test("without user.cfg the entries count, even when a user.cfg is staged", () => {
  const entries: NamedText[] = [["a.conf", "version 1\nlinux /a/k\noptions composefs=x\n"]];
  const menu = readMenu({ bootloader: "grub", boot: { entries, userCfgStaged: 'menuentry "x" {\n' } });
  expect(menu.active.entries.map(({ verity }) => verity)).toEqual(["x"]);
  expect(menu.syntaxError?.reason).toBe("E_GRUB_CFG");
  expect(menu.warnings).toEqual([{ code: "W_BAD_BOOT_ENTRY", file: "user.cfg.staged", reason: "E_GRUB_CFG" }]);
});

test("any files give a menu; what does not parse is reported once for each file", () => {
  const line = constantFrom(
    "version 1",
    "linux /bootc_composefs-a/k",
    "uki /EFI/Linux/bootc/bootc_composefs-b.efi",
    "efi /x/bootc_composefs-c.efi",
    "options composefs=d rw",
    "options composefs=../e",
    "sort-key s",
    "#",
    "uki",
  );
  assert(
    property(array(array(line)), (texts) => {
      const entries = texts.map((lines, index): NamedText => [`${index}.conf`, lines.join("\n")]);
      const { active, warnings } = readMenu({ bootloader: "grub", boot: { entries } });
      const files = [...active.entries.map(({ file }) => file), ...warnings.map(({ file }) => file)];
      expect(new Set(files).size).toBe(files.length);
      const identities = [...active.entries, ...active.broken];
      expect(identities.every(({ verity }) => isDeploymentId(verity))).toBe(true);
    }),
  );
});
