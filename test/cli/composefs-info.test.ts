// `composefs-info` and `composefs-dump`: the C tools' commands, options, messages and exit statuses.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { run, temporaryDirectory } from "./program.ts";

const program = (name: string) => fileURLToPath(new URL(`../../dist/cli/${name}.js`, import.meta.url));
const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const info = async (...words: string[]) => run(words, { program: program("composefs-info"), cwd: directory });
const dump = async (...words: string[]) => run(words, { program: program("composefs-dump"), cwd: directory });

const ID = "3d".repeat(32);
const OBJECT = `${ID.slice(0, 2)}/${ID.slice(2)}`;
const DUMP = `/ 4096 40755 4 0 0 0 5.0 - - - user.r=1
/a\\x20b 42 40755 2 0 0 0 5.0 - - -
/a\\x20b/x\\ty 2 100644 1 7 8 0 6.5 - hi -
/dev 0 20600 1 0 0 1281 5.0 - - -
/ext 9000 100644 2 0 0 0 5.0 ${OBJECT} - ${ID} user.k=v
/ext-hl 9000 @100644 2 0 0 0 5.0 /ext - ${ID} user.k=v
/l 3 120777 1 0 0 0 5.0 a\\x20b - -
/own 70 100644 1 0 0 0 5.0 some/where - -
/z 27 40700 2 0 0 0 5.0 - - -
`;
const LISTING = `/a b/\t
/a b/x\\ty
/dev
/ext\t@ ${OBJECT}
/ext-hl
/l\t-> a\\x20b
/own\t@ some/where
/z/\t
`;

beforeAll(async () => {
  writeFileSync(at("tree.dump"), DUMP);
  for (const [image, ...options] of [["one.img"], ["two.img", "--min-version=1"]] as const) {
    const made = await run(["--from-file", "tree.dump", image, ...options], {
      program: program("mkcomposefs"),
      cwd: directory,
    });
    expect(made).toEqual({ status: 0, stdout: "", stderr: "" });
  }
  mkdirSync(at("store/some"), { recursive: true });
  writeFileSync(at("store/some/where"), "");
});

describe("composefs-info", () => {
  it("lists", async () => {
    expect(await info("ls", "one.img")).toEqual({ status: 0, stdout: LISTING, stderr: "" });
    expect((await info("ls", "one.img", "two.img")).stdout).toBe(LISTING + LISTING);
    expect((await info("--filter=z", "ls", "one.img", "--filter", "a b")).stdout).toBe("/a b/\t\n/a b/x\\ty\n/z/\t\n");
    expect((await info("ls", "--filter=nothing", "one.img")).stdout).toBe("");
  });

  it("dumps as the C tool, or without invention", async () => {
    expect(await info("dump", "one.img")).toEqual({ status: 0, stdout: DUMP, stderr: "" });
    const canonical = (await info("dump", "one.img", "--form=canonical")).stdout.split("\n");
    expect(canonical[0]).toBe("/ 0 40755 4 0 0 0 5.0 - - - user.r=1");
    expect(canonical[5]).toBe("/ext-hl 0 @120000 - - - - 0.0 /ext - -");
    expect((await info("dump", "--filter=none", "one.img")).stdout).toBe(`${DUMP.split("\n")[0]}\n`);
    const line = `/ext-hl 9000 100644 2 0 0 0 5.0 ${OBJECT} - ${ID} user.k=v`;
    expect((await info("dump", "--filter=ext-hl", "one.img")).stdout.split("\n")[1]).toBe(line);
  });

  it("lists objects, and those that are missing", async () => {
    expect((await info("objects", "one.img", "two.img")).stdout).toBe(`${OBJECT}\nsome/where\n`);
    expect((await info("objects", "--filter=own", "one.img")).stdout).toBe("some/where\n");
    expect(await info("missing-objects", "--basedir=store", "one.img")).toEqual({
      status: 0,
      stdout: `${OBJECT}\n`,
      stderr: "",
    });
    expect((await info("missing-objects", "--basedir=store", "one.img", "--exit-code=3")).status).toBe(3);
    const none = await info("missing-objects", "--basedir=store", "--filter=own", "--exit-code=3", "one.img");
    expect([none.status, none.stdout]).toEqual([0, ""]);
  });

  it("takes a path that leads out of the directory for missing", async () => {
    writeFileSync(at("out.dump"), "/ 0 40755 2 0 0 0 0.0 - - -\n/f 5 100644 1 0 0 0 0.0 ../tree.dump - -\n");
    await run(["--from-file", "out.dump", "out.img"], { program: program("mkcomposefs"), cwd: directory });
    expect((await info("missing-objects", "--basedir=store", "out.img")).stdout).toBe("../tree.dump\n");
  });

  it("measures files", async () => {
    writeFileSync(at("empty"), "");
    writeFileSync(at("hello"), "hello world\n");
    const digests = [
      "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
      "37061ef2ac4c21bec68489b56138c5780306a4ad7fe6676236ecdf2c9027cd92",
    ];
    expect((await info("measure-file", "empty", "hello")).stdout).toBe(`${digests.join("\n")}\n`);
    const files = [
      { path: "empty", digest: digests[0], size: 0 },
      { path: "hello", digest: digests[1], size: 12 },
    ];
    expect(JSON.parse((await info("measure-file", "--json", "empty", "hello")).stdout)).toEqual({ files });
  });

  it("prints JSON", async () => {
    const json = async (...words: string[]) => JSON.parse((await info("--json", ...words)).stdout) as unknown;
    const listed = (await json("ls", "one.img", "two.img")) as { images: { image: string; entries: object[] }[] };
    expect(listed.images.map(({ image }) => image)).toEqual(["one.img", "two.img"]);
    const [first] = listed.images;
    expect(first?.entries.map((entry) => (entry as { path: string }).path)).toHaveLength(9);
    expect(first?.entries[2]).toEqual({
      path: "/a\\x20b/x\\ty",
      mode: 0o100644,
      size: 2,
      links: 1,
      uid: 7,
      gid: 8,
      rdev: 0,
      mtime: "6.5",
      content: "hi",
      xattrs: {},
    });
    expect(first?.entries[4]).toMatchObject({ payload: OBJECT, digest: ID, links: 2, xattrs: { "user.k": "v" } });
    expect(first?.entries[5]).toEqual({ path: "/ext-hl", linkTo: "/ext" });
    expect(await json("objects", "one.img")).toEqual({ objects: [OBJECT, "some/where"] });
    expect(await json("missing-objects", "one.img", "--basedir=store")).toEqual({ missing: [OBJECT] });
    expect(await json("objects", "--filter=z", "one.img")).toEqual({ objects: [] });
  });

  it.each([
    [[], "No command specified"],
    [["ls"], "No image path specified"],
    [["measure-file"], "No files specified"],
    [["list", "x"], "Unknown command 'list'"],
    [["ls", "--nothing", "x"], "unknown option --nothing"],
    [["ls", "-x", "x"], "unknown option -x"],
    [["ls", "x", "--filter"], "option --filter needs a value"],
    [["ls", "--json=1", "x"], "option --json=1 takes no value"],
    [["ls", "--filter=a/b", "one.img"], "Filter 'a/b' contains a slash"],
    [["ls", "none.img"], "Failed to open 'none.img': no such file or directory"],
    [["ls", "--basedir=none", "one.img"], "Can't open basedir 'none': no such file or directory"],
    [["ls", "--basedir=one.img", "one.img"], "Can't open basedir 'one.img': not a directory"],
    [["missing-objects", "one.img"], "missing-objects needs --basedir"],
    [["missing-objects", "--basedir=store", "--exit-code=256", "one.img"], "Invalid exit code 256"],
    [["dump", "--form=rs", "one.img"], "Invalid form rs"],
    [["measure-file", "none"], "Failed to open 'none': no such file or directory"],
    [["measure-file", "store"], "failed to measure 'store': store is not a regular file"],
  ])("refuses %j", async (words, message) => {
    const { status, stdout, stderr } = await info(...words);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(`composefs-info: ${message}`);
  });

  it("says what a file is that is no image, and keeps what came before it", async () => {
    writeFileSync(at("text"), "some words\n".repeat(1000));
    const text = await info("ls", "one.img", "text");
    expect([text.status, text.stdout]).toEqual([1, LISTING]);
    expect(text.stderr).toMatch(
      /^composefs-info: Failed to load 'text': not a valid composefs image: .*magic.*\nhint: the file is text\n$/,
    );
    expect((await info("objects", "tree.dump")).stderr).toContain(
      "\nhint: the file is a dump; make an image of it with `mkcomposefs --from-file tree.dump IMAGE`\n",
    );
    expect((await info("objects", "empty")).stderr).toContain("\nhint: the file is empty\n");
    expect((await info("dump", "store")).stderr).toMatch(
      /^composefs-info: Failed to load 'store': .*is a directory\n$/,
    );
    const damaged = readFileSync(at("one.img"));
    damaged.fill(0xff, 1152, 1200);
    writeFileSync(at("damaged.img"), damaged);
    const { status, stdout, stderr } = await info("dump", "damaged.img");
    expect([status, stdout, stderr.split("\n").length]).toEqual([1, "", 2]);
  });

  it("has help and a version, under both names", async () => {
    for (const words of [["--help"], ["ls", "--help"]]) {
      expect((await info(...words)).stdout).toMatch(/^Usage: composefs-info [^]*Examples:/);
      expect((await run(["composefs-info", ...words])).stdout).toMatch(/^Usage: composefs-info [^]*Examples:/);
    }
    expect((await info("--version")).stdout).toMatch(/^composefs-info \d+\.\d+\.\d+ /);
    expect((await run(["composefs-info", "ls", at("one.img")])).stdout).toBe(LISTING);
    expect((await run(["mkcomposefs", "--from-file", at("tree.dump"), at("three.img")])).status).toBe(0);
    expect(readFileSync(at("three.img"))).toEqual(readFileSync(at("one.img")));
  });
});

describe("composefs-dump", () => {
  it("writes the same image", async () => {
    for (const name of ["one.img", "two.img"]) {
      expect(await dump(name, "copy.img")).toEqual({ status: 0, stdout: "", stderr: "" });
      expect(readFileSync(at("copy.img"))).toEqual(readFileSync(at(name)));
    }
    const { stdout } = await dump("two.img", "copy.img", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ image: "copy.img", version: 1, dialect: "c", same: true });
    expect((await run(["composefs-dump", at("one.img"), at("copy.img")])).status).toBe(0);
    expect(readFileSync(at("copy.img"))).toEqual(readFileSync(at("one.img")));
  });

  it("refuses with the C tool's words, and leaves the old file", async () => {
    writeFileSync(at("old.img"), "old");
    for (const [words, message] of [
      [[], "No source path specified"],
      [["one.img"], "No destination path specified"],
      [["none.img", "old.img"], "Failed to open 'none.img': no such file or directory"],
      [["text", "old.img"], "Failed to load 'text': "],
      [["one.img", "none/old.img"], "failed to open 'none/old.img': no such file or directory"],
    ] as const) {
      const { status, stderr } = await dump(...words);
      expect(status).toBe(1);
      expect(stderr.split("\n")[0]).toMatch(new RegExp(`^composefs-dump: ${message}`));
    }
    expect(readFileSync(at("old.img"), "utf8")).toBe("old");
    expect(readdirSync(dirname(at("old.img"))).filter((name) => name.startsWith("."))).toEqual([]);
  });
});
