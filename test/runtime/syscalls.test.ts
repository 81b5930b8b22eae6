import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { systemError } from "../../src/error.ts";
import { capabilities } from "../../src/runtime/capabilities.ts";
import { commandCalls } from "../../src/runtime/syscalls-commands.ts";
import { errnoError, koffiCalls } from "../../src/runtime/syscalls-koffi.ts";
import { syscalls } from "../../src/runtime/syscalls.ts";

const scratch = mkdtempSync(join(tmpdir(), "composefs-syscalls-"));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill();
  rmSync(scratch, { recursive: true });
});

/** Holds a lock in another process until it is killed. */
async function hold(kind: "-s" | "-x"): Promise<ChildProcess> {
  const child = spawn("flock", ["-F", kind, scratch, "sh", "-c", "echo held; exec sleep 100"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}

async function release(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill();
  await gone;
}

const locked = (kind: "-s" | "-x") => spawnSync("flock", [kind, "-n", scratch, "true"]).status === 1;

const providers = [koffiCalls(), commandCalls()].filter((calls) => calls !== undefined);

test("errors that Node has no name for have one, and a hash algorithm that the kernel lacks has its remedy", () => {
  expect(errnoError(15).code).toBe("ENOTBLK");
  // As koffi gives it, and as node:fs does when such a file is opened.
  for (const cause of [errnoError(65), Object.assign(new Error("Unknown system error -65"), { errno: -65 })])
    expect(systemError(cause, "opening x")).toMatchObject({
      code: "unsupported",
      message: "opening x: the kernel lacks the hash algorithm that fs-verity needs there",
      hint: expect.stringContaining("modprobe sha512_generic") as string,
    });
});

test("koffi is used where it is installed", () => {
  expect(providers.map((calls) => calls.provider)).toEqual(["koffi", "commands"]);
  expect(syscalls().provider).toBe(process.env.COMPOSEFS_SYSCALLS === "commands" ? "commands" : "koffi");
});

for (const calls of providers)
  describe(calls.provider, () => {
    test("locks are seen by other processes, upgraded, and released with the descriptor", async () => {
      const fd = openSync(scratch, "r");
      expect(calls.tryLock(fd, "shared")).toBe(true);
      expect([locked("-s"), locked("-x")]).toEqual([false, true]);
      expect(calls.tryLock(fd, "exclusive")).toBe(true);
      expect([locked("-s"), locked("-x")]).toEqual([true, true]);
      expect(calls.tryLock(fd, "unlock")).toBe(true);
      expect(locked("-x")).toBe(false);
      expect(calls.tryLock(fd, "exclusive")).toBe(true);
      closeSync(fd);
      expect(locked("-x")).toBe(false);
    });

    test("locks of other processes are respected", async () => {
      const fd = openSync(scratch, "r");
      const reader = await hold("-s");
      expect(calls.tryLock(fd, "shared")).toBe(true);
      expect(calls.tryLock(fd, "exclusive")).toBe(false);
      await release(reader);
      expect(calls.tryLock(fd, "exclusive")).toBe(true);
      expect(calls.tryLock(fd, "unlock")).toBe(true);
      const writer = await hold("-x");
      expect(calls.tryLock(fd, "shared")).toBe(false);
      await release(writer);
      closeSync(fd);
    });

    test("a lock on what is no open file is an error", () => {
      expect(() => calls.tryLock(9999, "shared")).toThrowError(/lock/);
    });

    test("fs-verity: a file without it has none, whether or not the file system could", () => {
      const path = join(scratch, "plain");
      writeFileSync(path, "hello");
      const fd = openSync(path, "r");
      expect([undefined, "unsupported"]).toContain(calls.measureVerity(fd, path));
      const enabled = calls.enableVerity(fd, path, "sha256");
      expect(["enabled", "unsupported"]).toContain(enabled);
      if (enabled === "enabled") {
        expect(calls.enableVerity(fd, path, "sha256")).toBe("already");
        expect(calls.measureVerity(fd, path)).toMatchObject({ algorithm: "sha256" });
      }
      closeSync(fd);
    });

    test("fs-verity of what does not exist is an error that names it", () => {
      expect(() => calls.measureVerity(9999, "/no/such/file")).toThrowError(/no\/such\/file|EBADF/);
    });

    test("syncfs works, and fails on nothing", () => {
      const fd = openSync(scratch, "r");
      calls.syncfs(fd, scratch);
      closeSync(fd);
      expect(() => calls.syncfs(9999, "/no/such/file")).toThrowError(/syncing/);
    });

    test("cloning tells whether it worked, and the content is right if it did", () => {
      const [from, to] = [join(scratch, "from"), join(scratch, "to")];
      writeFileSync(from, "cloned");
      const [source, target] = [openSync(from, "r"), openSync(to, "w+")];
      if (calls.cloneFile(target, source)) expect(readFileSync(to, "utf8")).toBe("cloned");
      else expect(readFileSync(to, "utf8")).toBe("");
      closeSync(source);
      closeSync(target);
    });

    test.runIf(calls.renameNoReplace !== undefined)("rename without replacing", () => {
      const [a, b, c] = [join(scratch, "a"), join(scratch, "b"), join(scratch, "c")];
      writeFileSync(a, "A");
      writeFileSync(b, "B");
      expect([false, undefined]).toContain(calls.renameNoReplace?.(a, b));
      expect(readFileSync(b, "utf8")).toBe("B");
      if (calls.renameNoReplace?.(a, c) === true) expect(readFileSync(c, "utf8")).toBe("A");
      expect(() => calls.renameNoReplace?.(join(scratch, "none"), join(scratch, "d"))).toThrowError(
        expect.objectContaining({ code: "ENOENT" }),
      );
    });
  });

describe("waiting for a lock", () => {
  test("does not block the event loop, tells once after a second, and succeeds", async () => {
    const fd = openSync(scratch, "r");
    const writer = await hold("-x");
    let told = 0;
    let ticks = 0;
    const clock = setInterval(() => ticks++, 20);
    const begin = performance.now();
    setTimeout(() => void release(writer), 1500);
    await syscalls().flock(fd, "shared", { onWait: () => told++ });
    clearInterval(clock);
    expect(performance.now() - begin).toBeGreaterThan(1400);
    expect(told).toBe(1);
    expect(ticks).toBeGreaterThan(20);
    closeSync(fd);
  });

  test("ends at its timeout, at once for 0", async () => {
    const fd = openSync(scratch, "r");
    const writer = await hold("-x");
    const begin = performance.now();
    await expect(syscalls().flock(fd, "shared", { timeoutMs: 0 })).rejects.toMatchObject({ code: "locked" });
    expect(performance.now() - begin).toBeLessThan(200);
    await expect(syscalls().flock(fd, "shared", { timeoutMs: 300 })).rejects.toMatchObject({ code: "locked" });
    expect(performance.now() - begin).toBeGreaterThan(290);
    await release(writer);
    closeSync(fd);
  });

  test("ends with the signal", async () => {
    const fd = openSync(scratch, "r");
    const writer = await hold("-x");
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    await expect(syscalls().flock(fd, "shared", { signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
    await expect(syscalls().flock(fd, "shared", { signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
    await release(writer);
    closeSync(fd);
  });
});

test("errors have the name of their number", () => {
  expect(errnoError(2)).toMatchObject({ code: "ENOENT" });
  expect(errnoError(12345)).toMatchObject({ code: "errno 12345" });
});

test("capabilities name the runtime and every shortcoming with its remedy", () => {
  const found = capabilities();
  expect(found.runtime).toMatch(/^(node|deno|bun)$/);
  expect(found.version).toMatch(/^\d+\./);
  expect(found.syscalls).toBe(syscalls().provider);
  for (const { what, remedy } of found.shortcomings) expect(`${what}${remedy}`.length).toBeGreaterThan(20);
  expect(found.shortcomings.some(({ remedy }) => remedy.includes("koffi"))).toBe(found.syscalls === "commands");
});
