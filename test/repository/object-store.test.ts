import { randomBytes } from "node:crypto";
import { chmodSync, closeSync, existsSync, lstatSync, mkdirSync, mkdtempSync, openSync, readdirSync } from "node:fs";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fsverityDigest } from "../../src/core/fsverity.ts";
import { ObjectStore } from "../../src/repository/object-store.ts";

const scratch = mkdtempSync(join(tmpdir(), "composefs-store-"));
afterAll(() => rmSync(scratch, { recursive: true }));

let count = 0;
function newStore(algorithm: "sha256" | "sha512" = "sha256"): ObjectStore {
  const path = join(scratch, `store-${count++}`);
  mkdirSync(path);
  return new ObjectStore({ path, algorithm, secure: false });
}
const again = (store: ObjectStore) => new ObjectStore(store.options);
const leftovers = (store: ObjectStore) =>
  existsSync(join(store.options.path, "objects"))
    ? readdirSync(join(store.options.path, "objects")).filter((name) => name.length !== 2)
    : [];

const hello = Buffer.from("hello world");
const helloId = "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64";

for (const algorithm of ["sha256", "sha512"] as const)
  describe(algorithm, () => {
    test("puts, finds and reads back objects of all edge sizes", () => {
      const store = newStore(algorithm);
      for (const size of [0, 1, 4095, 4096, 4097, 70_000, 1_100_000]) {
        const data = randomBytes(size);
        const { id, created } = store.putSync(data);
        expect(id).toBe(fsverityDigest(algorithm, data));
        expect(created).toBe(true);
        expect(store.hasSync(id)).toBe(true);
        expect(again(store).hasSync(id)).toBe(true);
        expect(Buffer.compare(store.readSync(id, size), data)).toBe(0);
      }
      expect(leftovers(store)).toEqual([]);
    });

    test("a sink gives the same id as the whole data", () => {
      const store = newStore(algorithm);
      const data = randomBytes(1_000_000);
      const sink = store.newObjectSync();
      for (let at = 0; at < data.length; at += 7777) sink.write(data.subarray(at, at + 7777));
      const id = fsverityDigest(algorithm, data);
      expect(sink.commit()).toEqual({ id, size: data.length, created: true });
      expect(again(store).putSync(data)).toEqual({ id, created: false });
      sink.abort();
      expect(store.hasSync(id)).toBe(true);
    });
  });

test("the known object has its known name, mode 0644 and directory mode 0755 less the umask", () => {
  const store = newStore();
  // Read, not set: threads of Bun may not set it.
  const umask = process.umask();
  expect(store.putSync(hello).id).toBe(helloId);
  const path = join(store.options.path, "objects", helloId.slice(0, 2), helloId.slice(2));
  expect(store.path(helloId)).toBe(path);
  expect(statSync(path).mode & 0o7777).toBe(0o644 & ~umask);
  expect(statSync(path).nlink).toBe(1);
  expect(statSync(dirname(path)).mode & 0o7777).toBe(0o755 & ~umask);
});

test("an object that exists is left alone", () => {
  const store = newStore();
  store.putSync(hello);
  const { ino, mtimeNs } = statSync(store.path(helloId), { bigint: true });
  for (const other of [store, again(store)]) {
    expect(other.putSync(hello).created).toBe(false);
    const sink = other.newObjectSync();
    sink.write(hello);
    expect(sink.commit().created).toBe(false);
  }
  expect(statSync(store.path(helloId), { bigint: true })).toMatchObject({ ino, mtimeNs });
  expect(leftovers(store)).toEqual([]);
});

describe("a damaged object is replaced", () => {
  const damages: [string, (path: string) => void][] = [
    ["truncated", (path) => truncateSync(path, 5)],
    ["longer", (path) => writeFileSync(path, "hello world!")],
    ["changed", (path) => writeFileSync(path, "hello worle")],
    [
      "a FIFO",
      (path) => {
        rmSync(path);
        execFileSync("mkfifo", [path]);
      },
    ],
  ];
  for (const [name, damage] of damages)
    for (const way of ["putSync", "newObjectSync", "putFileSync"] as const)
      test(`${name}, by ${way}`, () => {
        const store = newStore();
        store.putSync(hello);
        damage(store.path(helloId));
        const next = again(store);
        let created: boolean;
        if (way === "putSync") {
          created = next.putSync(hello).created;
        } else if (way === "newObjectSync") {
          const sink = next.newObjectSync();
          sink.write(hello);
          created = sink.commit().created;
        } else {
          const file = join(store.options.path, "source");
          writeFileSync(file, hello);
          const fd = openSync(file, "r");
          created = next.putFileSync(fd, hello.length).created;
          closeSync(fd);
        }
        expect(created).toBe(true);
        expect(lstatSync(store.path(helloId)).isFile()).toBe(true);
        expect(readFileSync(store.path(helloId), "utf8")).toBe("hello world");
        expect(leftovers(store)).toEqual([]);
      });

  test("but not a directory, which is not ours", () => {
    const store = newStore();
    mkdirSync(store.path(helloId), { recursive: true });
    expect(() => store.putSync(hello)).toThrowError(/directory/);
    expect(leftovers(store)).toEqual([]);
  });

  test("with verifyExisting off, only when the size shows it", () => {
    const store = newStore();
    store.putSync(hello);
    writeFileSync(store.path(helloId), "hello worle");
    const trusting = new ObjectStore({ ...store.options, verifyExisting: false });
    expect(trusting.putSync(hello).created).toBe(false);
    truncateSync(store.path(helloId), 5);
    expect(new ObjectStore({ ...store.options, verifyExisting: false }).putSync(hello).created).toBe(true);
  });
});

describe("reading", () => {
  test("a missing object is not-found, with its id", () => {
    const store = newStore();
    expect(() => store.readSync(helloId, 100)).toThrowError(
      expect.objectContaining({ code: "not-found", digest: helloId }),
    );
  });

  test("damage is noticed and the digest named", () => {
    const store = newStore();
    store.putSync(hello);
    writeFileSync(store.path(helloId), "hello worle");
    expect(() => store.readSync(helloId, 100)).toThrowError(
      expect.objectContaining({ code: "corrupt", digest: helloId }),
    );
  });

  test("a limit holds before anything is read", () => {
    const store = newStore();
    store.putSync(hello);
    truncateSync(store.path(helloId), 2 ** 40);
    expect(() => store.readSync(helloId, 1000)).toThrowError(expect.objectContaining({ code: "limit" }));
  });

  test("neither a FIFO nor a symbolic link is followed or waited for", () => {
    const store = newStore();
    mkdirSync(dirname(store.path(helloId)), { recursive: true });
    execFileSync("mkfifo", [store.path(helloId)]);
    expect(() => store.readSync(helloId, 100)).toThrowError(expect.objectContaining({ code: "corrupt" }));
    rmSync(store.path(helloId));
    execFileSync("ln", ["-s", "/etc/passwd", store.path(helloId)]);
    expect(() => store.readSync(helloId, 1e6)).toThrowError(expect.objectContaining({ code: "corrupt" }));
    expect(store.hasSync(helloId)).toBe(false);
  });

  test("ids are checked before they become paths", () => {
    const store = newStore();
    for (const id of ["", "..", "../../etc/passwd", helloId.toUpperCase(), `${helloId}0`, "0".repeat(128)])
      for (const use of [() => store.path(id), () => store.hasSync(id), () => store.readSync(id, 1)])
        expect(use).toThrowError(expect.objectContaining({ code: "invalid" }));
  });
});

test("a sink that is aborted leaves nothing, and cannot be used again", () => {
  const store = newStore();
  const sink = store.newObjectSync();
  sink.write(hello);
  sink.abort();
  sink.abort();
  expect(leftovers(store)).toEqual([]);
  expect(() => sink.write(hello)).toThrowError(/closed/);
  expect(() => sink.commit()).toThrowError(/closed/);
});

test("putFileSync stores a file, large ones too", () => {
  const store = newStore();
  for (const size of [0, 10, 3_000_000]) {
    const data = randomBytes(size);
    const file = join(store.options.path, "source");
    writeFileSync(file, data);
    const fd = openSync(file, "r");
    const result = store.putFileSync(fd, size);
    closeSync(fd);
    expect(result).toEqual({ id: fsverityDigest("sha256", data), size, created: true });
    expect(Buffer.compare(store.readSync(result.id, size), data)).toBe(0);
  }
  expect(leftovers(store)).toEqual([]);
});

test("putFileSync without looking first: existing files are noticed, another size is an error", () => {
  const store = newStore();
  for (let i = 0; i < 320; i++) store.putSync(Buffer.from(`object ${i}`));
  const data = randomBytes(700_000);
  const file = join(store.options.path, "source");
  writeFileSync(file, data);
  const fd = openSync(file, "r");
  const id = fsverityDigest("sha256", data);
  expect(store.putFileSync(fd, data.length)).toEqual({ id, size: data.length, created: true });
  expect(Buffer.compare(store.readSync(id, data.length), data)).toBe(0);
  const other = new ObjectStore(store.options);
  for (let i = 0; i < 320; i++) other.putSync(Buffer.from(`other ${i}`));
  expect(other.putFileSync(fd, data.length)).toEqual({ id, size: data.length, created: false });
  for (let i = 0; i < 320; i++) other.putSync(Buffer.from(`others ${i}`));
  expect(() => other.putFileSync(fd, data.length - 1)).toThrowError(/changed while it was stored/);
  closeSync(fd);
  expect(leftovers(store)).toEqual([]);
});

test("putFileSync keeps holes", () => {
  const store = newStore();
  const file = join(store.options.path, "source");
  writeFileSync(file, "start");
  truncateSync(file, 40 << 20);
  const fd = openSync(file, "r");
  const { id } = store.putFileSync(fd, 40 << 20);
  closeSync(fd);
  const whole = Buffer.alloc(40 << 20);
  whole.write("start");
  expect(id).toBe(fsverityDigest("sha256", whole));
  expect(Buffer.compare(store.readSync(id, 40 << 20), whole)).toBe(0);
  expect(statSync(store.path(id)).blocks * 512).toBeLessThan(8 << 20);
});

test.runIf(process.getuid?.() !== 0)("permission errors name the repository", () => {
  const store = newStore();
  chmodSync(store.options.path, 0o500);
  expect(() => store.putSync(hello)).toThrowError(expect.objectContaining({ code: "permission" }));
});

test("a store can be built from the plain options of another one", () => {
  const store = newStore("sha512");
  const options: unknown = JSON.parse(JSON.stringify(store.options));
  expect(new ObjectStore(options as typeof store.options).putSync(hello).id).toHaveLength(128);
});

test("after many new objects in a row existing ones are still noticed, and damaged ones replaced", () => {
  const store = newStore();
  for (let i = 0; i < 350; i++) expect(store.putSync(Buffer.from(`object ${i}`)).created).toBe(true);
  const present = Buffer.from("put by another process");
  const damaged = Buffer.from("damaged by another process");
  again(store).putSync(present);
  const { id } = again(store).putSync(damaged);
  writeFileSync(store.path(id), "DAMAGED by another process");
  expect(store.putSync(damaged)).toEqual({ id, created: true });
  expect(Buffer.compare(store.readSync(id, 100), damaged)).toBe(0);
  for (let i = 350; i < 700; i++) store.putSync(Buffer.from(`object ${i}`));
  expect(store.putSync(present).created).toBe(false);
  expect(leftovers(store)).toEqual([]);
});
