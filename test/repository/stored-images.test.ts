// import-image and dump-files: what is refused by which rule, what is stored, which lines come.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { backingPaths, dumpFiles } from "../../src/repository/dump-files.ts";
import { importImage } from "../../src/repository/import-image.ts";
import { Repository } from "../../src/repository/repository.ts";
import { imageOfDump } from "../fixtures/image.ts";

const STAT = "0 0 0 1700000000.0";
const CONTENT = Buffer.alloc(100, "x");

let scratch = "";
let repository: Repository;
let id = "";
let dump = "";
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "composefs-images-"));
  await Repository.init(join(scratch, "repo"), { insecure: true, algorithm: "sha256" });
  repository = await Repository.open(join(scratch, "repo"), { write: true, durability: "none" });
  ({ id } = await repository.putObject(CONTENT));
  const external = `100 100644 2 ${STAT} ${id.slice(0, 2)}/${id.slice(2)} - ${id}`;
  dump = [
    `/ 0 40755 4 ${STAT} - - -`,
    `/a\\x20b 0 40755 3 ${STAT} - - -`,
    `/a\\x20b/deeper 0 40700 2 ${STAT} - - -`,
    `/a\\x20b/deeper/hidden 0 10600 1 ${STAT} - - -`,
    `/a\\x20b/one ${external}`,
    `/a\\x20b/two 0 @120000 - - - - 0.0 /a\\x20b/one - -`,
    `/etc 0 40755 2 ${STAT} - - -`,
    `/etc/motd 3 100644 1 ${STAT} - hi\\n - user.k=v`,
    `/link 3 120777 1 ${STAT} etc - -`,
    "",
  ].join("\n");
});
afterEach(async () => {
  await repository.close();
  rmSync(scratch, { recursive: true, force: true });
});

const imported = async (version: 0 | 1 | 2 = 1) =>
  importImage(repository, "os/v1", [await imageOfDump(dump, { version, dialect: "rs" })]);

test.each([0, 1, 2] as const)(
  "a valid image of format V%i is stored, linked and named; fsck agrees",
  async (version) => {
    const image = await imported(version);
    expect(image.missing).toEqual([]);
    expect(repository.images()).toEqual([{ name: "os/v1", target: image.id }]);
    expect(repository.resolveImage("os/v1").id).toBe(image.id);
    expect((await checkRepository(repository)).ok).toBe(true);
    expect((await imported(version)).id).toBe(image.id);
  },
);

test("objects that are not there are told", async () => {
  rmSync(repository.objectPath(id));
  repository.store.forget();
  expect((await imported()).missing).toEqual([id]);
});

test("what is no image is refused, with the rule, and leaves nothing", async () => {
  const image = await imageOfDump(dump, { version: 1, dialect: "rs" });
  const before = readdirSync(join(scratch, "repo"), { recursive: true, encoding: "utf8" }).toSorted();
  const sha512 = await imageOfDump(
    dump.replaceAll(id, "ab".repeat(64)).replace(/ ..\/\S{62} /, ` ab/${"ab".repeat(63)} `),
    {
      version: 1,
      dialect: "rs",
    },
    "sha512",
  );
  const wrongPath = await imageOfDump(dump.replace(/ (..)\/\S{62} /, ` $1/${"0".repeat(62)} `), {
    version: 1,
    dialect: "c",
  });
  for (const [bytes, message] of [
    [Buffer.from("any bytes"), /is not a composefs image/],
    [Buffer.alloc(0), /is not a composefs image/],
    [image.subarray(0, image.length - 4096), /is not a composefs image/],
    [sha512, /is not a composefs image|rule/],
    [wrongPath, /breaks the rule ".+": \/a\\x20b\/one: /],
  ] as const) {
    await expect(importImage(repository, "bad", [bytes])).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringMatching(message) as string,
    });
  }
  await expect(importImage(repository, "bad", [image], { limit: 4096 })).rejects.toMatchObject({ code: "limit" });
  await expect(importImage(repository, "../bad", [image])).rejects.toMatchObject({ code: "usage" });
  expect(readdirSync(join(scratch, "repo"), { recursive: true, encoding: "utf8" }).toSorted()).toEqual(before);
});

test("a directory comes with all that is below it, hard links to what was printed, paths as given", async () => {
  const image = (await imported()).id;
  const external = `100 100644 2 ${STAT} ${id.slice(0, 2)}/${id.slice(2)} - ${id}\n`;
  expect(dumpFiles(repository, image, ["a b/"])).toEqual([
    `a\\x20b/ 0 40755 3 ${STAT} - - -\n`,
    `a\\x20b/deeper 0 40700 2 ${STAT} - - -\n`,
    `a\\x20b/deeper/hidden 0 10600 1 ${STAT} - - -\n`,
    `a\\x20b/one ${external}`,
    `a\\x20b/two 0 @120000 - - - - 0.0 a\\x20b/one - -\n`,
  ]);
  expect(dumpFiles(repository, "os/v1", ["/a b/two", "a b/one"])).toEqual([
    `/a\\x20b/two ${external}`,
    `a\\x20b/one ${external}`,
  ]);
  // Of the root, which cfsctl refuses, the whole dump.
  expect(dumpFiles(repository, "refs/os/v1", ["/"]).join("")).toBe(dump);
  expect(dumpFiles(repository, image, [])).toEqual([]);
});

test("backing paths, and what has none", async () => {
  await imported();
  expect(backingPaths(repository, "os/v1", ["/a b/two", "etc/motd", "link"])).toEqual([
    { path: "/a b/two", object: `${id.slice(0, 2)}/${id.slice(2)}` },
    { path: "etc/motd", object: undefined },
    { path: "link", object: undefined },
  ]);
  expect(() => backingPaths(repository, "os/v1", ["etc"])).toThrow("etc is a directory");
  expect(() => dumpFiles(repository, "os/v1", ["etc/none"])).toThrow('etc/none: "etc/none" does not exist');
  expect(() => dumpFiles(repository, "os/v1", ["etc/../etc"])).toThrow('contains ".."');
  expect(() => dumpFiles(repository, "os/v1", ["link/motd"])).toThrow('"link" is not a directory');
  expect(() => dumpFiles(repository, "os/v2", ["etc"])).toThrow("image not found: os/v2");
});
