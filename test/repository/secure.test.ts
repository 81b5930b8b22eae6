// Repositories that require fs-verity, on a simulated kernel: no file system of a test machine need have it. The real one is
// for the suite in a virtual machine.

import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fsverityFile } from "../../src/core/fsverity.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { repairRepository } from "../../src/repository/fsck/repair.ts";
import { initRepository } from "../../src/repository/init.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { Syscalls } from "../../src/runtime/syscalls.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";

/** What the simulated kernel does. */
const kernel = vi.hoisted(() => ({
  /** Digests of files with fs-verity, by inode. */
  digests: new Map<bigint, { algorithm: "sha256" | "sha512"; digest: string }>(),
  supported: true,
  /** How often enabling is refused because the file is open for writing. */
  busy: 0,
  /** What is measured instead of the truth. */
  lie: undefined as string | undefined,
  enabled: 0,
}));

vi.mock("../../src/runtime/syscalls.ts", async (original) => {
  const real = await original<{ syscalls(): Syscalls }>();
  const inode = (fd: number) => fstatSync(fd, { bigint: true }).ino;
  const simulated: Partial<Syscalls> = {
    enableVerity(fd, _path, algorithm) {
      if (!kernel.supported) return "unsupported";
      if (kernel.busy > 0) {
        kernel.busy--;
        return "busy";
      }
      if (kernel.digests.has(inode(fd))) return "already";
      kernel.enabled++;
      kernel.digests.set(inode(fd), { algorithm, digest: kernel.lie ?? fsverityFile(algorithm, fd) });
      return "enabled";
    },
    measureVerity: (fd) => (kernel.supported ? kernel.digests.get(inode(fd)) : "unsupported"),
  };
  return { ...real, syscalls: () => ({ ...real.syscalls(), ...simulated }) };
});

let scratch = "";
let path = "";
beforeEach(() => {
  Object.assign(kernel, { supported: true, busy: 0, lie: undefined, enabled: 0 });
  kernel.digests.clear();
  scratch = mkdtempSync(join(tmpdir(), "composefs-secure-"));
  path = join(scratch, "repo");
});
afterEach(() => rmSync(scratch, { recursive: true }));

const open = async () => {
  await initRepository(path, { algorithm: "sha256" });
  return Repository.open(path, { write: true, durability: "none" });
};

/** The kernel's digest of a file goes, as when it was copied without it. */
function forgetVerity(file: string): void {
  const fd = openSync(file, "r");
  kernel.digests.delete(fstatSync(fd, { bigint: true }).ino);
  closeSync(fd);
}

const leftovers = () => readdirSync(join(path, "objects")).filter((name) => name.startsWith("."));

describe("init", () => {
  test("enables fs-verity on meta.json, which makes the repository secure", async () => {
    const result = await initRepository(path, { algorithm: "sha256" });
    expect(result).toMatchObject({ state: "created", secure: true });
    await using repository = await Repository.open(path, { requireVerity: true });
    expect(repository.secure).toBe(true);
    expect(readdirSync(path)).toEqual(["meta.json"]);
    expect(readdirSync(scratch)).toEqual(["repo"]);
  });

  test("again with --insecure changes nothing and says that it is secure", async () => {
    await initRepository(path, { algorithm: "sha256" });
    expect(await initRepository(path, { algorithm: "sha256", insecure: true })).toMatchObject({
      state: "exists",
      secure: true,
    });
  });

  test("without support creates nothing and names the file system", async () => {
    kernel.supported = false;
    await expect(initRepository(path)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/file system of .*does not support fs-verity/),
      hint: expect.stringContaining("--insecure"),
    });
    expect(readdirSync(scratch)).toEqual([]);
  });

  test("insecure does not ask for it", async () => {
    kernel.supported = false;
    expect(await initRepository(path, { insecure: true })).toMatchObject({ state: "created", secure: false });
    expect(kernel.enabled).toBe(0);
  });
});

describe("objects of a secure repository", () => {
  test("have fs-verity when they get their name; the kernel vouches for them when they are read", async () => {
    await using repository = await open();
    const { id } = await repository.putObject(Buffer.from("hello world"));
    expect(kernel.enabled).toBeGreaterThanOrEqual(2);
    const object = repository.openObject(id);
    expect(object.verified).toBe(true);
    object.close();
    expect(Buffer.from(await repository.readObject(id)).toString()).toBe("hello world");
  });

  test("are replaced when they have lost it: copied files, by every way of writing", async () => {
    await using repository = await open();
    const { id } = await repository.putObject(Buffer.from("hello world"));
    for (const way of ["put", "sink"] as const) {
      forgetVerity(repository.objectPath(id));
      await using again = await Repository.open(path, { write: true });
      await expect(again.readObject(id)).rejects.toMatchObject({
        code: "corrupt",
        message: expect.stringContaining("not enabled"),
      });
      if (way === "put") {
        expect((await again.putObject(Buffer.from("hello world"))).created).toBe(true);
      } else {
        const sink = again.newObject();
        sink.write(Buffer.from("hello world"));
        expect(sink.commit().created).toBe(true);
      }
      expect(Buffer.from(await again.readObject(id)).toString()).toBe("hello world");
    }
    expect(leftovers()).toEqual([]);
  });

  test("are believed without being read: the kernel checks every read", async () => {
    await using repository = await open();
    const data = Buffer.from("hello world");
    await repository.putObject(data);
    await using again = await Repository.open(path, { write: true });
    expect((await again.putObject(data)).created).toBe(false);
  });

  test("with another digest in the kernel are damage", async () => {
    await using repository = await open();
    const { id } = await repository.putObject(Buffer.from("hello world"));
    const fd = openSync(repository.objectPath(id), "r");
    kernel.digests.set(fstatSync(fd, { bigint: true }).ino, { algorithm: "sha256", digest: "0".repeat(64) });
    closeSync(fd);
    await expect(repository.readObject(id)).rejects.toMatchObject({ code: "corrupt", digest: id });
    const report = await checkRepository(repository);
    expect(report.findings.map(({ kind }) => kind)).toEqual(["object-digest-mismatch"]);
  });

  test("never get a name when the kernel measures something else than was computed", async () => {
    await using repository = await open();
    kernel.lie = "1".repeat(64);
    await expect(repository.putObject(Buffer.from("x"))).rejects.toMatchObject({ code: "corrupt" });
    expect(readdirSync(join(path, "objects"))).toEqual([]);
  });

  test("survive a descriptor that a forked child still holds: tried again, then copied", async () => {
    await using repository = await open();
    for (const times of [1, 3, 4]) {
      kernel.busy = times;
      const text = `busy ${times} times`;
      const { id } = await repository.putObject(Buffer.from(text));
      expect(readFileSync(repository.objectPath(id), "utf8")).toBe(text);
      expect(leftovers()).toEqual([]);
    }
    kernel.busy = 100;
    await expect(repository.putObject(Buffer.from("never"))).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("open for writing"),
    });
    expect(leftovers()).toEqual([]);
  });

  test("fail when the file system cannot: moved to another one", async () => {
    await using repository = await open();
    kernel.supported = false;
    await expect(repository.putObject(Buffer.from("x"))).rejects.toMatchObject({ code: "unsupported" });
    expect(leftovers()).toEqual([]);
  });
});

describe("insecure repositories on a file system that has it", () => {
  test("get it as well, and what the kernel vouches for is not hashed again", async () => {
    await initRepository(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true });
    expect(repository.secure).toBe(false);
    const { id } = await repository.putObject(Buffer.from("hello world"));
    const object = repository.openObject(id);
    expect(object.verified).toBe(true);
    object.close();
    forgetVerity(repository.objectPath(id));
    expect(Buffer.from(await repository.readObject(id)).toString()).toBe("hello world");
  });

  test("try it once only where it is not supported", async () => {
    kernel.supported = false;
    await initRepository(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true });
    for (let i = 0; i < 5; i++) await repository.putObject(Buffer.from(`object ${i}`));
    expect(kernel.enabled).toBe(0);
    expect((await checkRepository(repository)).ok).toBe(true);
  });
});

describe("fsck and repair", () => {
  test("fs-verity that is missing is enabled where the content is right, else the object is dropped", async () => {
    await using repository = await open();
    const writer = new SplitstreamWriter("sha256", "ocilayer");
    const ids = ["right", "wrong"].map((text) => repository.store.putSync(Buffer.from(text.repeat(50))).id);
    for (const id of ids) writer.external(id, 250);
    await repository.putStream("s", writer);
    repository.setRef("streams", "r", "s");
    for (const id of ids) forgetVerity(repository.objectPath(id));
    writeFileSync(repository.objectPath(ids[1] as string), "damage");
    const report = await checkRepository(repository);
    expect(report.findings.filter(({ kind }) => kind === "object-verity-missing").length).toBe(2);
    const { plan, after, restore } = await repairRepository(repository);
    expect(plan.actions.map(({ action }) => action).toSorted()).toEqual(["drop-object", "enable-verity"]);
    expect(existsSync(repository.objectPath(ids[1] as string))).toBe(false);
    expect(after.findings.map(({ kind }) => kind)).toEqual(["missing-object-ref"]);
    expect(restore).toEqual(["r"]);
    expect(Buffer.from(await repository.readObject(ids[0] as string)).toString()).toBe("right".repeat(50));
  });
});
