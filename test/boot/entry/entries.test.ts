import { describe, expect, test } from "vitest";
import { type BootEntry, parseBootEntry, writeBootEntry } from "../../../src/boot/entry/bls.ts";
import { newGrubEntry, parseGrubConfig, writeGrubConfig, writeGrubEntry } from "../../../src/boot/entry/grub-config.ts";
import { setEntryComposefsArgument, splitEntryLines } from "../../../src/boot/entry/lines.ts";
import { entryFileName, entrySortKey, nameEntrySet, sortKeyOsId } from "../../../src/boot/entry/names.ts";
import { type BootLoader, sortMenu } from "../../../src/boot/entry/order.ts";
import { compareRpmVersions, compareVersions } from "../../../src/boot/entry/version.ts";
import { ComposefsError } from "../../../src/error.ts";

function failure(call: () => unknown): { reason?: string; line?: number; message: string } {
  try {
    call();
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    const { reason, line, message } = error;
    return { message, ...(reason === undefined ? {} : { reason }), ...(line === undefined ? {} : { line }) };
  }
  throw new Error("no error");
}

const entry = (version: string, more: Partial<BootEntry> = {}): BootEntry => ({
  ...parseBootEntry(`version ${version}\nlinux /d/vmlinuz\n`),
  ...more,
});

describe("the composefs argument of an entry", () => {
  const set = (text: string) => setEntryComposefsArgument(splitEntryLines(text), "composefs=new");

  test("takes the place of the first one, whatever spelling and line; the rest of each line stays", () => {
    expect(set("title T\noptions  a\tcomposefs.digest=v1-sha256-12:x  b\noptions composefs=y \n")).toEqual([
      "title T",
      "options  a\tcomposefs=new  b",
      "options  ",
    ]);
    expect(set('options a\noptions b "composefs=old" c')).toEqual(["options a", "options b composefs=new c"]);
    expect(set('options a="x composefs=1" composefs_x=1')).toEqual([
      'options a="x composefs=1" composefs_x=1 composefs=new',
    ]);
    expect(set("linux /v")).toEqual(["linux /v", "options composefs=new"]);
    expect(set(" options composefs=old")).toEqual([" options composefs=old", "options composefs=new"]);
  });
});

describe("errors name file and line", () => {
  test("of entries", () => {
    expect(failure(() => parseBootEntry("version 1\nlinux /a\n\nuki /b\n", "loader/entries/x.conf"))).toEqual({
      reason: "bls-two-targets",
      line: 4,
      message: "loader/entries/x.conf, line 4: the entry has both linux and uki",
    });
    expect(failure(() => parseBootEntry("title x\n", "x.conf")).message).toBe("x.conf: the entry has no version");
  });

  test("of user.cfg", () => {
    expect(
      failure(() => parseGrubConfig('\nmenuentry "A" {\n}\nmenuentry "B" --class x {\n}\n', "grub2/user.cfg")),
    ).toEqual({
      reason: "grub-syntax",
      line: 4,
      message: 'grub2/user.cfg, line 4: after the title there must be a "{"; options are not understood',
    });
    expect(failure(() => parseGrubConfig('x\nmenuentry "A" {\n  a {\n}\n')).line).toBe(2);
    expect(failure(() => parseGrubConfig("menuentry_id_option")).reason).toBe("grub-syntax");
  });

  test("of a value that would become another line", () => {
    expect(failure(() => writeBootEntry(entry("1", { title: "a\nlinux /evil" }))).message).toContain("title");
  });
});

describe("GRUB", () => {
  test("what is written is read back", () => {
    const entries = [newGrubEntry('A "b" \\ $c {', "d1"), newGrubEntry("B", "d2")];
    const text = writeGrubConfig(entries);
    expect(parseGrubConfig(text)).toEqual(entries);
    expect(text).toBe(
      `\nif [ -f \${config_directory}/efiuuid.cfg ]; then\n        source \${config_directory}/efiuuid.cfg\nfi\n${entries.map(writeGrubEntry).join("")}`,
    );
  });

  test("the word in a comment does not count, wherever the comment begins", () => {
    expect(parseGrubConfig("  # menuentry menuentry\n#menuentry").length).toBe(0);
    expect(parseGrubConfig('menuentry "A" {} # menuentry\nmenuentry "B" {}').map(({ title }) => title)).toEqual([
      "A",
      "B",
    ]);
  });
});

describe("versions", () => {
  const SOME = [
    "",
    "1",
    "01",
    "1.0",
    "1.0~rc1",
    "1.0-1",
    "1.0^p",
    "10",
    "9",
    "a",
    "A",
    "1a",
    "1.a",
    "é",
    "~",
    "^",
    "-",
    "..",
    "1..0",
  ];

  test("both orders are orders", () => {
    for (const compare of [compareVersions, compareRpmVersions])
      for (const a of SOME) {
        expect(compare(a, a)).toBe(0);
        for (const b of SOME) expect(compare(a, b), `${a} ${b}`).toBe(0 - compare(b, a));
      }
    for (const a of SOME)
      for (const b of SOME)
        for (const c of SOME)
          if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
            expect(compareVersions(a, c), `${a} ${b} ${c}`).toBeLessThanOrEqual(0);
  });

  test("RPM's rule gives the answers that are known of it", () => {
    for (const [a, b, order] of [
      ["1.0", "1.0", 0],
      ["1.0", "2.0", -1],
      ["2.0.1", "2.0", 1],
      ["2.0.1a", "2.0.1", 1],
      ["5.5p1", "5.5p2", -1],
      ["5.5p10", "5.5p1", 1],
      ["10xyz", "10.1xyz", -1],
      ["xyz10", "xyz10.1", -1],
      ["xyz.4", "8", -1],
      ["5.5p2", "5.6p1", -1],
      ["6.0.rc1", "6.0", 1],
      ["10b2", "10a1", 1],
      ["7.8.1p0", "7.8.1p1", -1],
      ["10.0001", "10.1", 0],
      ["10.0001", "10.0039", -1],
      ["20101121", "20101122", -1],
      ["2_0", "2.0", 0],
      ["a+", "a_", 0],
      ["1.0~rc1", "1.0", -1],
      ["1.0~rc1~git123", "1.0~rc1", -1],
      ["10.0", "9.0", 1],
    ] as const) {
      expect(compareRpmVersions(a, b), `${a} ${b}`).toBe(order);
      expect(compareRpmVersions(b, a), `${b} ${a}`).toBe(0 - order);
    }
  });

  test("long versions take no time that grows with their square", () => {
    const long = "1.".repeat(200_000);
    expect(compareVersions(long, `${long}1`)).toBe(-1);
    expect(compareRpmVersions(long, `${long}1`)).toBe(-1);
  });
});

describe("menus", () => {
  const names = (loader: BootLoader, items: [string, Partial<BootEntry>][]) => {
    const all = items.map(([name, more]) => ({ name, entry: entry("1", more) }));
    const order = sortMenu(loader, all).map(({ name }) => name);
    expect(sortMenu(loader, all.toReversed()).map(({ name }) => name)).toEqual(order);
    return order;
  };

  test("GRUB compares name, version and release", () => {
    expect(
      names("grub", [
        ["bootc_a-9.0-1.conf", {}],
        ["bootc_a-10.0-0.conf", {}],
      ]),
    ).toEqual(["bootc_a-10.0-0.conf", "bootc_a-9.0-1.conf"]);
    expect(
      names("grub-cc", [
        ["x-1.conf", {}],
        ["x.conf", {}],
        ["x-1-1.conf", {}],
      ]),
    ).toEqual(["x-1-1.conf", "x-1.conf", "x.conf"]);
  });

  test("entries with a sort-key come before those without; a tie is decided by the name", () => {
    expect(
      names("systemd", [
        ["a", {}],
        ["b", { sortKey: "z" }],
        ["c", {}],
        ["d", { sortKey: "y", version: "0" }],
      ]),
    ).toEqual(["d", "b", "c", "a"]);
  });

  test("machine ids that only some have do not make the order depend on the directory", () => {
    names("systemd", [
      ["a", { machineId: "1", version: "1" }],
      ["b", { version: "2" }],
      ["c", { machineId: "2", version: "3" }],
    ]);
  });
});

describe("names", () => {
  test("nothing from a version reaches a path or GRUB's split", () => {
    expect(entryFileName("my-os", "1/2-3 é\u{1f600}", 1)).toBe("bootc_my_os-1_2_3___-1.conf");
    expect(entryFileName("../x", "..", 0)).toBe("bootc_.._x-..-0.conf");
    expect(entrySortKey("my-os", 0)).toBe("bootc-my-os-0");
    expect(sortKeyOsId("bootc-my-os-0")).toBe("my-os");
    expect(sortKeyOsId("bootc--0")).toBeUndefined();
    expect(sortKeyOsId("other-1")).toBeUndefined();
    expect(sortKeyOsId(undefined)).toBeUndefined();
  });

  test("a set is shown in the order wanted, by every loader", () => {
    const sets = [["2", "1"], ["1", "2"], ["9.0", "10.0"], ["7", "7"], ["2", "3", "1"], ["1-2", "1/2", "1_2"], ["1"]];
    for (const loader of ["systemd", "grub", "grub-cc"] as const)
      for (const versions of sets) {
        const set = nameEntrySet(
          loader,
          "my-os",
          versions.map((version) => entry(version)),
        );
        expect(new Set(set.map(({ name }) => name)).size, versions.join()).toBe(versions.length);
        expect(sortMenu(loader, set), `${loader} ${versions.join()}`).toEqual(set);
        expect(set.map((one) => one.entry.version)).toEqual(versions);
      }
    expect(nameEntrySet("grub", "x", [entry("1"), entry("2")]).map(({ name }) => name)).toEqual([
      "bootc_x-1-1.conf",
      "bootc_x-1-0.conf",
    ]);
  });
});
