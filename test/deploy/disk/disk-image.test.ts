// Disk images as far as no other program is needed: what is refused, what is left behind, and that the bytes are always the same.
// test/interop/disk-image.test.ts holds them against e2fsprogs and dosfstools, test/vm/disk-image.test.ts against a kernel.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createDiskImage, type DiskImageOptions } from "../../../src/deploy/disk/disk-image.ts";
import { type DiskSysroot, makeDiskSysroot } from "../../fixtures/disk-sysroot.ts";
import { peFile } from "../../fixtures/pe.ts";

const work = mkdtempSync(join(tmpdir(), "composefs-disk-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

afterEach(() => rmSync(output, { force: true }));

let good: DiskSysroot;
let output: string;
beforeAll(async () => {
  good = await makeDiskSysroot(join(work, "good"));
  mkdirSync(join(work, "out"));
  output = join(work, "out/disk.img");
});

const make = (options: DiskImageOptions = {}, sysroot = good) =>
  createDiskImage(sysroot.sysroot, output, { esp: sysroot.esp, ...options });
const left = () => readdirSync(join(work, "out"));
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Expects a refusal that leaves nothing. */
async function refused(attempt: Promise<unknown>, error: object): Promise<void> {
  await expect(attempt).rejects.toMatchObject(error);
  expect(left()).toEqual([]);
}

describe("a disk", () => {
  test("takes its label from the boot entries, and its size from what is in it", async () => {
    const made = await make({ epoch: 1_700_000_000 });
    expect(made).toMatchObject({ label: "vmroot", images: [good.image], sealed: expect.any(Number) });
    expect(made.sealed).toBeGreaterThan(6);
    expect(statSync(output).size).toBe(made.size);
    // Holes where nothing is: the image, its content and its journal are not 800 MiB.
    expect(statSync(output).blocks * 512).toBeLessThan(16 << 20);
    expect(made.partitions.map(({ name }) => name)).toEqual(["EFI system partition", "root"]);
  });

  test("of a copy made at another time is the same to the byte with SOURCE_DATE_EPOCH, and else another one", async () => {
    const copy = join(work, "copy");
    execFileSync("cp", ["-a", join(work, "good"), copy]);
    const other = { ...good, sysroot: join(copy, "sysroot"), esp: join(copy, "esp") };
    for (const path of ["composefs/meta.json", "composefs/objects", `state/deploy/${good.image}/etc`, "."])
      utimesSync(join(other.sysroot, path), 1_900_000_000, 1_900_000_000);
    const options: DiskImageOptions = { epoch: 1_500_000_000, espSize: 36 << 20 };
    const one = await make(options);
    const digest = sha256(output);
    const two = await make(options, other);
    expect(two).toEqual(one);
    expect(sha256(output)).toBe(digest);
    const three = await make();
    expect(three.uuid).not.toBe(one.uuid);
  });

  test("of a given identity has it", async () => {
    const uuid = "11111111-2222-4333-8444-555555555555";
    const made = await make({ uuid: uuid.toUpperCase(), partitionUuid: uuid, architecture: "arm64" });
    expect(made.uuid).toBe(uuid);
    expect(made.partitions[1]).toMatchObject({ uuid, type: "b921b045-1df0-41c3-af44-4c6f280d3fae" });
  });
});

describe("what does not fit the choice to seal is refused", () => {
  test("an entry without verification, whatever this machine's file system can do", async () => {
    const insecure = await makeDiskSysroot(join(work, "insecure"), { mark: "?" });
    await refused(make({}, insecure), { code: "invalid", reason: "E_INSECURE_ENTRY", path: insecure.entry });
    await make({ seal: false }, insecure).then(({ sealed }) => expect(sealed).toBe(0));
  });

  test("an entry that verifies, on a disk that is not sealed", async () => {
    await refused(make({ seal: false }), { code: "invalid", reason: "E_STRICT_ENTRY", path: good.entry });
  });

  test.each(["loader/entries.staged/x.conf", "grub2/user.cfg"])("in %s too", async (name) => {
    const path = join(good.sysroot, "boot", name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, `menuentry "x" { linux /vmlinuz "composefs.digest=?v1-sha256-12:${good.image}" }\n`);
    await refused(make(), { reason: "E_INSECURE_ENTRY", path });
    rmSync(join(good.sysroot, "boot"), { recursive: true });
  });

  test("the command line of a UKI, which no text file shows", async () => {
    const path = join(good.esp, "EFI/Linux/one.EFI");
    writeFileSync(path, peFile([[".cmdline", `composefs=?${good.image} quiet`]]));
    await refused(make(), { reason: "E_INSECURE_ENTRY", path });
    writeFileSync(path, peFile([[".cmdline", `composefs=${good.image} quiet`]]));
    await make();
    rmSync(path);
  });
});

describe("refused as well, with nothing left", () => {
  test("an identity that the entries do not look for", async () => {
    await refused(make({ label: "other" }), { code: "usage", message: expect.stringContaining("root=LABEL=vmroot") });
    await refused(make({ uuid: "no" }), { code: "usage" });
    await refused(make({ label: "x".repeat(17) }), { code: "usage" });
  });

  test("sizes that are too small or no whole ones", async () => {
    await refused(make({ size: 516 << 20 }), { code: "no-space", message: expect.stringMatching(/needs \d+ MiB/) });
    await refused(make({ size: 1_000_000_007 }), { code: "usage" });
    await refused(make({ espSize: 20 << 20 }), { code: "usage" });
  });

  test("an output in the sysroot, and what is no sysroot", async () => {
    const inside = join(good.sysroot, "state/disk.img");
    await refused(createDiskImage(good.sysroot, inside), { code: "usage" });
    expect(existsSync(inside)).toBe(false);
    await refused(createDiskImage(join(work, "none"), output), { code: "not-found" });
    await refused(createDiskImage(good.esp, output), { code: "not-found" });
    await refused(createDiskImage(good.sysroot, join(work, "no/such/disk.img")), { code: "not-found" });
  });

  test("an object whose content is not what its name says", async () => {
    const { sysroot } = await makeDiskSysroot(join(work, "damaged"));
    const objects = join(sysroot, "composefs/objects");
    const path = readdirSync(objects, { recursive: true, encoding: "utf8" })
      .map((name) => join(objects, name))
      .find((name) => statSync(name).size === 70_000) as string;
    const bytes = readFileSync(path);
    bytes[69_999] = (bytes[69_999] as number) ^ 1;
    rmSync(path);
    writeFileSync(path, bytes);
    await refused(createDiskImage(sysroot, output), {
      code: "corrupt",
      path,
      digest: path.slice(-65).replace("/", ""),
    });
  });

  test("a signal while it is written", async () => {
    const controller = new AbortController();
    const attempt = make({
      signal: controller.signal,
      onProgress: (event) => event.type === "advance" && event.done > 1_000_000 && controller.abort(),
    });
    await refused(attempt, { code: "aborted" });
  });

  test("names in the ESP that FAT cannot have", async () => {
    const path = join(good.esp, "a:b");
    writeFileSync(path, "");
    await refused(make(), { code: "invalid", path });
    rmSync(path);
  });
});
