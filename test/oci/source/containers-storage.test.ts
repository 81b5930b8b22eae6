// Container stores that nobody vouches for: where they are looked for, which image a name means, what hostile indexes and files lead to
// (docs/spec/containers-storage.md, sections 1, 2, 5 and 7.2).

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { DiffFiles, nameParts } from "../../../src/oci/source/containers-storage/diff-files.ts";
import { findStores } from "../../../src/oci/source/containers-storage/discover.ts";
import { findImage } from "../../../src/oci/source/containers-storage/find-image.ts";
import { readImages, type StoredImage } from "../../../src/oci/source/containers-storage/image-index.ts";
import { layersOfImage, type ListedLayer } from "../../../src/oci/source/containers-storage/layer-index.ts";
import { type StorageEnvironment, storageCandidates } from "../../../src/oci/source/containers-storage/storage-conf.ts";
import { parseStorageReference } from "../../../src/oci/source/containers-storage/storage-reference.ts";
import { recipeLines } from "../../../src/oci/source/containers-storage/tar-split.ts";
import { mayLink } from "../../../src/oci/layer/zero-copy.ts";

let work: string;
beforeAll(() => {
  work = fs.mkdtempSync(join(tmpdir(), "composefs-stores-"));
});
afterAll(() => fs.rmSync(work, { recursive: true, force: true }));

function reasonOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof ComposefsError) return error.reason ?? error.code;
    throw error;
  }
  return undefined;
}

let places = 0;
function newFolder(): string {
  const folder = join(work, String(places++));
  fs.mkdirSync(folder);
  return folder;
}

function makeStore(root: string, driver = "overlay"): string {
  for (const name of [driver, `${driver}-layers`, `${driver}-images`])
    fs.mkdirSync(join(root, name), { recursive: true });
  return root;
}

function environment(home: string, env: Record<string, string> = {}, rootless = true): StorageEnvironment {
  return { env, uid: rootless ? 1234 : 0, rootless, home };
}

function userConf(home: string, text: string): void {
  fs.mkdirSync(join(home, ".config/containers"), { recursive: true });
  fs.writeFileSync(join(home, ".config/containers/storage.conf"), text);
}

describe("where stores are", () => {
  it("defaults, when nothing is configured", async () => {
    const home = newFolder();
    const conf = { CONTAINERS_STORAGE_CONF: join(home, "none") };
    const { roots, configFile } = await storageCandidates(environment(home, conf));
    expect(configFile).toBeUndefined();
    expect(roots).toEqual([`${home}/.local/share/containers/storage`, "/var/lib/containers/storage"]);
    const data = { ...conf, XDG_DATA_HOME: `${home}/data` };
    expect((await storageCandidates(environment(home, data))).roots[0]).toBe(`${home}/data/containers/storage`);
    expect((await storageCandidates(environment(home, conf, false))).roots[0]).toBe("/var/lib/containers/storage");
  });

  it("what storage.conf says, with variables in it", async () => {
    const home = newFolder();
    userConf(
      home,
      `[storage]\ndriver = "overlay"\ngraphroot = "$HOME/s-$UID"\nimagestore = "/images"\n[storage.options]\nadditionalimagestores = ["/extra"]\n`,
    );
    const { roots, configFile } = await storageCandidates(environment(home, { HOME: home }));
    expect(configFile).toBe(`${home}/.config/containers/storage.conf`);
    expect(roots.slice(0, 3)).toEqual(["/images", `${home}/s-1234`, "/extra"]);
    const named = {
      CONTAINERS_STORAGE_ROOT: "/first",
      STORAGE_OPTS: "overlay.additionalimagestore=/a,additionalimagestore=/b,x",
    };
    const all = (await storageCandidates(environment(home, { HOME: home, ...named }))).roots;
    expect([all[0], ...all.slice(-2)]).toEqual(["/first", "/a", "/b"]);
  });

  it("refuses a configuration that is none", async () => {
    const home = newFolder();
    userConf(home, "[storage\n");
    await expect(storageCandidates(environment(home))).rejects.toMatchObject({ code: "invalid" });
    userConf(home, "[storage]\ndriver = 5\n");
    await expect(storageCandidates(environment(home))).rejects.toThrow(/storage\.driver is wrong/);
  });

  it("names the driver that cannot be read", async () => {
    const home = newFolder();
    makeStore(join(home, ".local/share/containers/storage"), "vfs");
    await expect(findStores({ root: `${home}/.local/share/containers/storage` })).rejects.toMatchObject({
      reason: "driver",
      message: expect.stringContaining("vfs") as string,
    });
    const conf = { CONTAINERS_STORAGE_CONF: join(home, "none"), STORAGE_DRIVER: "btrfs" };
    const found = await findStores({}, environment(home, conf)).catch((error: unknown) => error as ComposefsError);
    // Root of this machine may have a store of its own.
    if (found instanceof ComposefsError) expect(found.reason).toBe("driver");
    else expect(found).toEqual(["/var/lib/containers/storage"]);
  });

  it("says where it looked", async () => {
    const home = newFolder();
    await expect(findStores({ root: home })).rejects.toMatchObject({ reason: "no-store", path: home });
    await expect(findStores({ root: `${home}/none` })).rejects.toThrow(/it does not exist/);
    expect(await findStores({ root: makeStore(home) })).toEqual([home]);
  });
});

describe("references", () => {
  it.each([
    ["demo:1", { name: "demo:1", root: undefined, additional: [] }],
    ["[overlay@/r+/run]demo:1", { name: "demo:1", root: "/r", additional: [] }],
    ["[/r]demo", { name: "demo", root: "/r", additional: [] }],
    [
      "[overlay2@/r+/run:overlay.additionalimagestore=/a,x=y]d@sha256:1",
      { name: "d@sha256:1", root: "/r", additional: ["/a"] },
    ],
  ])("%s", (text, expected) => expect(parseStorageReference(text)).toEqual(expected));

  it.each([
    ["[overlay@/r", "invalid"],
    ["[overlay@/r]", "invalid"],
    ["[relative]x", "invalid"],
    ["[vfs@/r+/run]x", "driver"],
  ])("%s is refused", (text, reason) => expect(reasonOf(() => parseStorageReference(text))).toBe(reason));
});

describe("names of images", () => {
  const hex = (character: string) => character.repeat(64);
  const image = (character: string, names: string[], more: Partial<StoredImage> = {}): StoredImage => ({
    root: "/s",
    id: hex(character),
    digest: `sha256:${hex(character === "a" ? "1" : "2")}`,
    names,
    formerNames: [],
    layer: undefined,
    keys: [],
    digests: new Map(),
    ...more,
  });
  const images = [
    image("a", ["localhost/demo:1", "localhost/demo:latest"], {
      digests: new Map([["manifest-x", `sha256:${hex("3")}`]]),
    }),
    image("b", ["quay.io/team/demo:1", "quay.io/team/other:latest"], { formerNames: ["quay.io/team/old:1"] }),
  ];

  it.each([
    ["localhost/demo:1", "a"],
    ["demo", "a"],
    ["team/demo:1", "b"],
    ["other", "b"],
    [hex("a"), "a"],
    [`sha256:${hex("a")}`, "a"],
    [`@${hex("b")}`, "b"],
    [`sha256:${hex("3")}`, "a"],
    [`team/old@sha256:${hex("2")}`, "b"],
    ["aaa", "a"],
    ["bbbbbbbbbbbb", "b"],
  ])("%s", (name, id) => expect(findImage(images, name).image.id).toBe(hex(id)));

  it.each([
    ["demo:1", "ambiguous"],
    ["team/old:1", "no-image"],
    [`team/none@sha256:${hex("2")}`, "no-image"],
    ["emo:1", "no-image"],
    ["aa", "no-image"],
    [hex("9"), "no-image"],
  ])("%s is refused", (name, reason) => expect(reasonOf(() => findImage(images, name))).toBe(reason));

  it("says which are near", () => {
    expect(() => findImage(images, "localhost/dmo:1")).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("localhost/demo:1") }),
    );
  });
});

describe("indexes", () => {
  it.each([
    ["junk", "junk"],
    ["empty", ""],
    ["no list", "{}"],
    ["no id", "[{}]"],
    ["an id that leaves the store", '[{"id":"../../etc"}]'],
    ["an id with a slash", '[{"id":"a/b"}]'],
    ["wrong types", '[{"id":"a","names":"b"}]'],
  ])("%s", (_, text) => {
    const root = makeStore(newFolder());
    fs.writeFileSync(join(root, "overlay-images/images.json"), text);
    expect(reasonOf(() => readImages(root))).toBe("bad-index");
  });

  it("a missing one, and a link in its place", () => {
    const root = makeStore(newFolder());
    expect(reasonOf(() => readImages(root))).toBe("bad-index");
    fs.symlinkSync("/etc/passwd", join(root, "overlay-images/images.json"));
    expect(reasonOf(() => readImages(root))).toBe("io");
  });

  const layer = (id: string, parent?: string, more: Partial<ListedLayer> = {}): ListedLayer => ({
    root: "/s",
    id,
    parent,
    diffId: `sha256:${id}`,
    size: 1,
    incomplete: false,
    mapped: false,
    ...more,
  });

  it("layers by their parents, else by their digests", () => {
    const all = [
      layer("b", "a"),
      layer("a"),
      layer("x", undefined, { diffId: "sha256:a" }),
      layer("m", "a", { diffId: "sha256:b", mapped: true }),
    ];
    const ids = (top: string | undefined, diffIds: string[]) => layersOfImage(all, top, diffIds).map(({ id }) => id);
    expect(ids("b", ["sha256:a", "sha256:b"])).toEqual(["a", "b"]);
    expect(ids("nowhere", ["sha256:a", "sha256:b"])).toEqual(["a", "b"]);
    expect(ids(undefined, [])).toEqual([]);
    expect(ids("b", ["sha256:b"])).toEqual(["b"]);
    expect(reasonOf(() => ids("b", ["sha256:c"]))).toBe("layer-missing");
    expect(reasonOf(() => layersOfImage([layer("a", "b"), layer("b", "a")], "a", ["sha256:a"]))).toBe("bad-index");
    const unfinished = [layer("b", "a"), layer("a", undefined, { incomplete: true, diffId: undefined })];
    expect(reasonOf(() => layersOfImage(unfinished, "b", ["sha256:a", "sha256:b"]))).toBe("layer-incomplete");
  });
});

describe("files of a layer", () => {
  it("names stay inside", () => {
    expect(nameParts("/abs//./x/")).toEqual(["abs", "x"]);
    for (const name of ["", "/", "..", "a/../b", "a\0b", "./."]) expect(nameParts(name)).toBeUndefined();
  });

  it("are opened only where nothing leads elsewhere", () => {
    const diff = newFolder();
    const outside = newFolder();
    fs.writeFileSync(join(outside, "secret"), "secret");
    fs.mkdirSync(join(diff, "d"));
    fs.writeFileSync(join(diff, "d/f"), "12345");
    fs.symlinkSync(outside, join(diff, "away"));
    fs.symlinkSync("f", join(diff, "d/l"));
    using files = new DiffFiles(diff);
    const file = files.open(["d", "f"]);
    expect(file.size).toBe(5);
    fs.closeSync(file.fd);
    const reasons = [["away", "secret"], ["d", "l"], ["d"], ["d", "none"], ["d", "f", "x"], ["none", "x"]].map(
      (parts) => reasonOf(() => files.open(parts)),
    );
    expect(reasons).toEqual(["symlink", "symlink", "not-regular", "missing", "missing", "missing"]);
  });

  it("get a second name by themselves only where nobody can change or miss anything", () => {
    expect(mayLink(0o100644, true)).toBe(true);
    for (const mode of [0o104755, 0o102755, 0o100600, 0o100000]) expect(mayLink(mode, true)).toBe(false);
    expect(mayLink(0o100644, false)).toBe(false);
  });
});

describe("recipes", () => {
  async function reasonOfLine(line: string): Promise<string | undefined> {
    try {
      for await (const _ of recipeLines(parts(line), "r"));
    } catch (error) {
      return (error as ComposefsError).reason;
    }
    return undefined;
  }

  async function* parts(text: string): AsyncGenerator<Uint8Array> {
    for (const byte of Buffer.from(text)) yield Buffer.from([byte]);
  }

  it.each([
    '{"type":1,"name":"a","size":-1,"payload":"AAAAAAAAAAA="}',
    '{"type":1,"name":"a","size":1.5,"payload":"AAAAAAAAAAA="}',
    '{"type":1,"name":"a","size":1e300,"payload":"AAAAAAAAAAA="}',
    '{"type":1,"name":"a","size":1,"payload":null}',
    '{"type":1,"name":"a","size":1,"payload":"AAAA"}',
    '{"type":1,"size":1,"payload":"AAAAAAAAAAA="}',
    '{"type":2,"payload":"A"}',
    '{"type":2,"payload":7}',
    '{"type":3}',
    "[]",
    "null",
    "",
  ])("%s", async (line) => expect(await reasonOfLine(`${line}\n`)).toBe("format"));

  it("must end with a line", async () => {
    expect(await reasonOfLine('{"type":2,"payload":""}\n{"type":2')).toBe("format");
    expect(await reasonOfLine('{"type":2,"payload":""}\n{"type":1}\n')).toBeUndefined();
  });
});
