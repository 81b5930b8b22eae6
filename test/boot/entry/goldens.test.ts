import { describe, expect, test } from "vitest";
import {
  type BootEntry,
  entryArtifact,
  entryDigest,
  parseBootEntry,
  writeBootEntry,
} from "../../../src/boot/entry/bls.ts";
import {
  type GrubEntry,
  grubEntryArtifact,
  grubEntryDigest,
  newGrubEntry,
  parseGrubConfig,
  writeGrubEntry,
} from "../../../src/boot/entry/grub-config.ts";
import { addEntryArgument, entryValues, joinEntryLines, splitEntryLines } from "../../../src/boot/entry/lines.ts";
import { type BootLoader, sortMenu } from "../../../src/boot/entry/order.ts";
import { compareVersions } from "../../../src/boot/entry/version.ts";
import { bootCases, outcome } from "../boot-goldens.ts";

describe("bls-parse", () => {
  const plain = (entry: BootEntry, written: boolean) => ({
    title: entry.title ?? null,
    version: entry.version,
    machine_id: entry.machineId ?? null,
    sort_key: entry.sortKey ?? null,
    extra: Object.fromEntries(entry.extra),
    target:
      entry.target.kind === "linux"
        ? { initrd: entry.initrd, linux: entry.target.linux, options: entry.options ?? null }
        : { [entry.target.kind]: entry.target.path },
    digest: outcome(() => entryDigest(entry)),
    artifact: outcome(() => entryArtifact(entry)),
    ...(written ? { written: writeBootEntry(entry) } : {}),
  });
  test.each(bootCases<{ text: string; expect: Record<string, unknown> }>("bls-parse"))("$text", (c) => {
    expect(outcome(() => plain(parseBootEntry(c.text), "written" in c.expect))).toEqual(c.expect);
  });
});

test.each(
  bootCases<{ bootloader: BootLoader; entries: { name: string; text: string }[]; menu_order: string[] }>("bls-sort"),
)("bls-sort $bootloader $menu_order", (c) => {
  const items = c.entries.map(({ name, text }) => ({ name, entry: parseBootEntry(text) }));
  expect(sortMenu(c.bootloader, items).map(({ name }) => name)).toEqual(c.menu_order);
  expect(sortMenu(c.bootloader, items.reverse()).map(({ name }) => name)).toEqual(c.menu_order);
});

test.each(bootCases<{ a: string; b: string; expect: number }>("version-compare"))("version-compare $a $b", (c) => {
  expect(compareVersions(c.a, c.b)).toBe(c.expect);
  expect(compareVersions(c.b, c.a)).toBe(0 - c.expect);
});

test.each(bootCases<{ content: string; key: string; first: string | null; all: string[] }>("entry-values"))(
  "entry-values $key",
  (c) => {
    const values = entryValues(splitEntryLines(c.content), c.key);
    expect(values).toEqual(c.all);
    expect(values[0] ?? null).toBe(c.first);
  },
);

test.each(bootCases<{ content: string; args: string[]; expect: string }>("entry-add-cmdline"))(
  "entry-add-cmdline $content $args",
  (c) => {
    expect(joinEntryLines(c.args.reduce(addEntryArgument, splitEntryLines(c.content)))).toBe(c.expect);
  },
);

describe("grub-parse", () => {
  const plain = (entry: GrubEntry) => ({
    ...entry,
    digest: outcome(() => grubEntryDigest(entry)),
    artifact: outcome(() => grubEntryArtifact(entry)),
    written: writeGrubEntry(entry),
  });
  test.each(bootCases<{ text: string; expect: unknown }>("grub-parse"))("$text", (c) => {
    expect(outcome(() => parseGrubConfig(c.text).map(plain))).toEqual(c.expect);
  });
});

test.each(bootCases<{ label: string; digest: string; expect: string }>("grub-write"))("grub-write $label", (c) => {
  expect(writeGrubEntry(newGrubEntry(c.label, c.digest))).toBe(c.expect);
});
