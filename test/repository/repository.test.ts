import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { rmSync, statSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { repositoryPath } from "../../src/repository/location.ts";
import { Repository } from "../../src/repository/repository.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";

let scratch = "";
let path = "";
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "composefs-repo-"));
  path = join(scratch, "repo");
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

const init = () => Repository.init(path, { insecure: true, algorithm: "sha256" });
const open = async (options = {}) => {
  await init();
  return Repository.open(path, { write: true, durability: "none", ...options });
};

function streamOf(repository: Repository, ...parts: (Buffer | string)[]): SplitstreamWriter {
  const writer = new SplitstreamWriter(repository.algorithm, "ocilayer");
  for (const part of parts)
    if (typeof part === "string") writer.inline(Buffer.from(part));
    else writer.external(repository.store.putSync(part).id, part.length);
  return writer;
}

async function cat(repository: Repository, name: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await repository.cat(name, (bytes) => void pieces.push(Buffer.from(bytes)));
  return Buffer.concat(pieces);
}

describe("init", () => {
  test("makes the directory with its parents, mode 0700, and meta.json only", async () => {
    path = join(scratch, "deep/er/repo");
    const result = await init();
    expect(result).toMatchObject({ state: "created", path, algorithm: "sha256", secure: false });
    expect(statSync(path).mode & 0o7777).toBe(0o700);
    expect(readdirSync(path)).toEqual(["meta.json"]);
  });

  test("again: the same is fine, something else is refused with both configurations", async () => {
    await init();
    const before = readFileSync(join(path, "meta.json"), "utf8");
    expect((await init()).state).toBe("exists");
    await expect(Repository.init(path, { insecure: true, algorithm: "sha512" })).rejects.toMatchObject({
      code: "exists",
      message:
        "repository already initialized with different configuration (algorithm: fsverity-sha256-12, erofs_version: V1); cannot re-initialize with (algorithm: fsverity-sha512-12, erofs_version: V1)",
    });
    await expect(Repository.init(path, { insecure: true, algorithm: "sha256", erofsVersion: 2 })).rejects.toMatchObject(
      {
        code: "exists",
      },
    );
    expect(readFileSync(join(path, "meta.json"), "utf8")).toBe(before);
  });

  test("--ensure accepts another format, not another algorithm", async () => {
    await init();
    expect((await Repository.init(path, { ensure: true, erofsVersion: 2 })).state).toBe("preserved");
    expect((await Repository.init(path, { ensure: true, algorithm: "sha256" })).state).toBe("preserved");
    await expect(Repository.init(path, { ensure: true, algorithm: "sha512" })).rejects.toMatchObject({
      code: "exists",
    });
    path = join(scratch, "new");
    expect((await Repository.init(path, { ensure: true, insecure: true })).state).toBe("created");
  });

  test("two at once: one creates, the other finds it", async () => {
    const states = (await Promise.all([init(), init(), init()])).map(({ state }) => state);
    expect(states.toSorted()).toEqual(["created", "exists", "exists"]);
  });

  test("a failure leaves nothing behind: a secure repository where fs-verity does not work", async () => {
    let result: unknown;
    try {
      result = await Repository.init(join(scratch, "a/b"), { algorithm: "sha256" });
    } catch (error) {
      expect(error).toMatchObject({ code: "unsupported", hint: expect.stringContaining("--insecure") });
      expect(readdirSync(scratch)).toEqual([]);
      return;
    }
    // This machine's file system has fs-verity.
    expect(result).toMatchObject({ state: "created", secure: true });
  });

  test("on objects without meta.json the algorithm must be theirs", async () => {
    await (await open()).putObject(Buffer.from("x"));
    unlinkSync(join(path, "meta.json"));
    await expect(Repository.init(path, { insecure: true, algorithm: "sha512" })).rejects.toMatchObject({
      code: "exists",
    });
    expect(existsSync(join(path, "meta.json"))).toBe(false);
    expect((await init()).state).toBe("created");
  });

  test("a file in the place of the directory", async () => {
    writeFileSync(path, "");
    await expect(init()).rejects.toMatchObject({ code: "not-a-repository" });
  });
});

describe("open", () => {
  test("what is no repository is said to be none, and is not touched", async () => {
    await expect(Repository.open(path)).rejects.toMatchObject({
      code: "not-found",
      hint: expect.stringContaining("init"),
    });
    mkdirSync(path);
    await expect(Repository.open(path)).rejects.toMatchObject({
      code: "not-a-repository",
      message: `${path} is not a composefs repository`,
    });
    expect(readdirSync(path)).toEqual([]);
    writeFileSync(join(scratch, "file"), "");
    await expect(Repository.open(join(scratch, "file"))).rejects.toMatchObject({ code: "not-a-repository" });
  });

  test("expectations: algorithm, fs-verity, formats", async () => {
    await init();
    await expect(Repository.open(path, { hash: "sha512" })).rejects.toMatchObject({
      message: "repository is configured for sha256 but --hash sha512 was specified",
    });
    await expect(Repository.open(path, { requireVerity: true })).rejects.toMatchObject({ code: "unsupported" });
    await using repository = await Repository.open(path, { hash: "sha256", erofsVersion: 0 });
    expect(repository.formats).toEqual([0]);
  });

  test("unknown read-only-compatible features: reading works, every write is refused before any work", async () => {
    await using first = await open();
    await first.putStream("s", streamOf(first, "abc"));
    const meta = JSON.parse(readFileSync(join(path, "meta.json"), "utf8")) as { features: Record<string, string[]> };
    meta.features["read-only-compatible"] = ["v1_erofs", "future"];
    writeFileSync(join(path, "meta.json"), JSON.stringify(meta));
    await expect(Repository.open(path, { write: true })).rejects.toMatchObject({ code: "read-only" });
    await using repository = await Repository.open(path);
    expect((await cat(repository, "s")).toString()).toBe("abc");
    const before = readdirSync(path, { recursive: true });
    const refused = expect.objectContaining({ code: "read-only", message: expect.stringContaining("future") });
    await expect(repository.putObject(Buffer.from("x"))).rejects.toEqual(refused);
    await expect(repository.putStream("t", streamOfNothing())).rejects.toEqual(refused);
    for (const write of [
      () => repository.newObject(),
      () => repository.setRef("streams", "r", "s"),
      () => repository.removeRef("streams", "r"),
      () => repository.linkStream("t", "0".repeat(64)),
      () => repository.linkImage("0".repeat(64)),
    ])
      expect(write).toThrowError(refused);
    expect(readdirSync(path, { recursive: true })).toEqual(before);
  });

  test("write: false refuses, and close ends everything", async () => {
    await init();
    const repository = await Repository.open(path, { write: false });
    await expect(repository.putObject(Buffer.from("x"))).rejects.toMatchObject({ code: "read-only" });
    await repository.close();
    await repository.close();
    expect(() => repository.hasObject("0".repeat(64))).toThrowError(/closed/);
  });

  test.runIf(process.getuid?.() !== 0)("no permission is said at once", async () => {
    await init();
    chmodSync(path, 0o500);
    await expect(Repository.open(path, { write: true })).rejects.toMatchObject({ code: "permission" });
  });
});

const streamOfNothing = () => new SplitstreamWriter("sha256", "ocilayer");

describe("streams", () => {
  test("round trip by content id, ref and object id", async () => {
    await using repository = await open();
    const large = randomBytes(2_500_000);
    const id = await repository.putStream("oci-layer-sha256:1", streamOf(repository, "head", large, "tail", large));
    expect(repository.stream("oci-layer-sha256:1")).toBe(id);
    expect(readlinkSync(join(path, "streams/oci-layer-sha256:1"))).toBe(`../objects/${id.slice(0, 2)}/${id.slice(2)}`);
    repository.setRef("streams", "a/b", "oci-layer-sha256:1");
    const expected = Buffer.concat([Buffer.from("head"), large, Buffer.from("tail"), large]);
    for (const name of ["oci-layer-sha256:1", "refs/a/b", id])
      expect(Buffer.compare(await cat(repository, name), expected), name).toBe(0);
  });

  test("a link whose object is missing counts as absent, and is written again", async () => {
    await using repository = await open();
    const id = await repository.putStream("s", streamOf(repository, "abc"));
    unlinkSync(repository.objectPath(id));
    await using again = await Repository.open(path, { write: true });
    expect(again.stream("s")).toBeUndefined();
    await expect(again.openStream("s")).rejects.toMatchObject({ code: "not-found", digest: id });
    expect(await again.putStream("s", streamOf(again, "abc"))).toBe(id);
    expect(again.stream("s")).toBe(id);
  });

  test("names that leave the category are refused, in both directions", async () => {
    await using repository = await open();
    const id = await repository.putStream("s", streamOf(repository, "abc"));
    for (const name of [
      "..",
      "../streams/s",
      "/etc/passwd",
      "refs/../s",
      "a//b",
      "",
      `../objects/${id.slice(0, 2)}/${id.slice(2)}`,
    ])
      await expect(repository.openStream(name), name).rejects.toMatchObject({ code: "usage" });
    for (const name of ["../x", "refs", "a/b"])
      expect(() => repository.linkStream(name, id), name).toThrowError(/content id/);
    for (const name of ["../../../x", "/x", "a/../b", ""])
      expect(() => repository.setRef("streams", name, "s"), name).toThrowError(/ref name/);
    expect(readdirSync(scratch)).toEqual(["repo"]);
  });

  test("refs that lead out of their category are damage, not a way out", async () => {
    await using repository = await open();
    await repository.putStream("s", streamOf(repository, "abc"));
    mkdirSync(join(path, "streams/refs"), { recursive: true });
    for (const target of ["/etc/passwd", "../../../x", "../../images/s", "../refs/other", "..", "x/../../../../y"]) {
      rmSync(join(path, "streams/refs/bad"), { force: true });
      symlinkSync(target, join(path, "streams/refs/bad"));
      await expect(repository.openStream("refs/bad"), target).rejects.toMatchObject({ code: "corrupt" });
    }
    rmSync(join(path, "streams/refs/bad"));
    symlinkSync("bad", join(path, "streams/refs/bad"));
    await expect(repository.openStream("refs/bad")).rejects.toMatchObject({ name: "ComposefsError" });
  });

  test("entries that lead to no object are damage", async () => {
    await using repository = await open();
    mkdirSync(join(path, "streams"));
    symlinkSync("/etc/passwd", join(path, "streams/a"));
    symlinkSync("../objects/zz/zz", join(path, "streams/b"));
    mkdirSync(join(path, "streams/c"));
    for (const name of ["a", "b", "c"])
      await expect(repository.openStream(name)).rejects.toMatchObject({ code: "corrupt" });
    await expect(repository.openStream("d")).rejects.toMatchObject({ code: "not-found" });
  });

  test("every byte is verified: damage of the stream's file and of its objects", async () => {
    await using repository = await open();
    const large = randomBytes(200_000);
    const id = await repository.putStream("s", streamOf(repository, "head", large));
    const object = repository.objectPath(repository.store.putSync(large).id);
    writeFileSync(object, Buffer.concat([large.subarray(1), Buffer.of(0)]));
    await expect(cat(repository, "s")).rejects.toMatchObject({ code: "corrupt" });
    writeFileSync(object, large);
    expect((await cat(repository, "s")).length).toBe(200_004);
    const file = readFileSync(repository.objectPath(id));
    file[12] = 1;
    writeFileSync(repository.objectPath(id), file);
    await expect(repository.openStream("s")).rejects.toMatchObject({ code: "corrupt", digest: id });
  });

  test("a size that does not agree is noticed at the end", async () => {
    await using repository = await open();
    const writer = new SplitstreamWriter("sha256", "ocilayer");
    const { id } = await repository.putObject(Buffer.from("four"));
    writer.external(id, 5);
    await repository.putStream("s", writer);
    await expect(cat(repository, "s")).rejects.toThrowError(/has 4 bytes, but announces 5/);
  });

  test("linking what is not there is refused", async () => {
    await using repository = await open();
    expect(() => repository.linkStream("s", "0".repeat(64))).toThrowError(/missing/);
    expect(() => repository.linkImage("0".repeat(64))).toThrowError(/missing/);
    expect(() => repository.setRef("streams", "x", "s")).toThrowError(expect.objectContaining({ code: "not-found" }));
    expect(readdirSync(path)).toEqual(["meta.json"]);
  });
});

describe("images and refs", () => {
  test("images by id, prefix, algorithm prefix, ref, nested ref", async () => {
    await using repository = await open();
    const ids = ["one", "two"].map((text) => repository.store.putSync(Buffer.from(text)).id);
    const id = ids[0] as string;
    for (const image of ids) repository.linkImage(image);
    repository.setRef("images", "os/root", id);
    repository.setRef("images", "plain", id);
    for (const name of [id, `sha256:${id}`, id.slice(0, 8), "plain", "refs/plain", "os/root", "refs/os/root"])
      expect(repository.resolveImage(name), name).toEqual({ entry: id, id });
    for (const name of ["none", id.slice(0, 7), "refs/none", "0".repeat(64), `sha512:${id}`, "refs"])
      expect(() => repository.resolveImage(name), name).toThrowError(expect.objectContaining({ code: "not-found" }));
    expect(repository.images()).toEqual([
      { name: "os/root", target: id },
      { name: "plain", target: id },
    ]);
    expect(repository.refs("images", "os")).toEqual([{ name: "root", target: id }]);
    expect(repository.ref("images", "plain")).toBe(id);
  });

  test("a ref is replaced and removed; its directories stay", async () => {
    await using repository = await open();
    for (const name of ["s", "t"]) await repository.putStream(name, streamOf(repository, name));
    repository.setRef("streams", "a/b", "s");
    repository.setRef("streams", "a/b", "t");
    expect(repository.ref("streams", "a/b")).toBe("t");
    expect(repository.removeRef("streams", "a/b")).toBe(true);
    expect(repository.removeRef("streams", "a/b")).toBe(false);
    expect(existsSync(join(path, "streams/refs/a"))).toBe(true);
  });
});

test("a pull that is repeated repairs: truncated objects are written again", async () => {
  await using repository = await open();
  const data = randomBytes(10_000);
  const { id } = await repository.putObject(data);
  truncateSync(repository.objectPath(id), 0);
  await using again = await Repository.open(path, { write: true });
  expect(await again.putObject(data)).toEqual({ id, created: true });
  expect(Buffer.compare(await again.readObject(id), data)).toBe(0);
});

test("the default locations", () => {
  const environment = { HOME: "/home/u" };
  expect(repositoryPath({}, environment, 1000)).toBe("/home/u/.var/lib/composefs");
  expect(repositoryPath({}, environment, 0)).toBe("/sysroot/composefs");
  expect(repositoryPath({ user: true }, environment, 0)).toBe("/home/u/.var/lib/composefs");
  expect(repositoryPath({ system: true }, environment, 1000)).toBe("/sysroot/composefs");
  expect(repositoryPath({ path: "x" }, environment, 0)).toBe("x");
  expect(() => repositoryPath({ path: "x", user: true })).toThrowError(expect.objectContaining({ code: "usage" }));
  expect(() => repositoryPath({ user: true }, {}, 1000)).toThrowError(/HOME/);
});
