// UKIs and addons made of a stub (docs/spec/boot.md, section 5). What firmware, binutils and sbsign say: test/interop/uki.test.ts.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openFileSource } from "../../../src/boot/file-source.ts";
import { bytesSource, PeFile, type PeSource } from "../../../src/boot/pe/read.ts";
import { PeChecksum, readPeImage } from "../../../src/boot/pe/image.ts";
import { inspectUki } from "../../../src/boot/uki/inspect.ts";
import { joined, peBytes, planAddon, planUki, type UkiParts, writePe } from "../../../src/boot/uki/write.ts";
import { makeStub, type StubOptions } from "../../fixtures/stub.ts";

const work = mkdtempSync(join(tmpdir(), "uki-write-test-"));
afterAll(() => rmSync(work, { recursive: true }));

const ID = "ab".repeat(64);
const kernel = makeStub({ sections: [".setup", ".text"] });
const stub = (options: StubOptions = {}) => ({ bytes: makeStub(options), name: "the.stub" });
const parts = (more: Partial<UkiParts> = {}): UkiParts => ({
  stub: stub(),
  kernel: bytesSource(kernel),
  initramfs: [bytesSource(Buffer.alloc(1001, 7))],
  commandLine: `quiet composefs=${ID}`,
  osRelease: Buffer.from('NAME="Test OS"\nVERSION_ID=4\n'),
  kernelVersion: "6.1.0-test",
  ...more,
});

/** The rules that every loader relies on. */
function checkImage(bytes: Uint8Array): void {
  const image = readPeImage(bytesSource(bytes), "result");
  const { sections } = image.pe;
  const view = new DataView(bytes.buffer);
  const sizeOfImage = view.getUint32(image.checksumAt - 8, true);
  expect(sizeOfImage % image.sectionAlignment).toBe(0);
  expect(image.sizeOfHeaders % image.fileAlignment).toBe(0);
  expect(image.table + 40 * sections.length).toBeLessThanOrEqual(image.sizeOfHeaders);
  let file = image.sizeOfHeaders;
  let memory = image.sizeOfHeaders;
  for (const section of sections) {
    expect(section.rawPointer % image.fileAlignment).toBe(0);
    expect(section.rawSize % image.fileAlignment).toBe(0);
    expect(section.virtualAddress % image.sectionAlignment).toBe(0);
    expect(section.rawPointer).toBeGreaterThanOrEqual(file);
    expect(section.virtualAddress).toBeGreaterThanOrEqual(memory);
    file = section.rawPointer + section.rawSize;
    memory = section.virtualAddress + section.virtualSize;
  }
  expect(file).toBe(bytes.length);
  expect(memory).toBeLessThanOrEqual(sizeOfImage);
  const stored = view.getUint32(image.checksumAt, true);
  view.setUint32(image.checksumAt, 0, true);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum = (sum + view.getUint16(at, true)) % 0xffff;
  view.setUint32(image.checksumAt, stored, true);
  expect((stored - bytes.length) % 0xffff).toBe(sum);
}

describe("an assembled UKI", () => {
  it("reads back as what went in", async () => {
    const bytes = peBytes(planUki(parts()));
    checkImage(bytes);
    const pe = PeFile.read(bytesSource(bytes), "result");
    expect(pe.sections.map(({ name }) => name)).toEqual([
      ".text",
      ".data",
      ".osrel",
      ".cmdline",
      ".uname",
      ".initrd",
      ".linux",
    ]);
    expect(Buffer.from(pe.bytes(".linux"))).toEqual(Buffer.from(kernel));
    expect(Buffer.from(pe.bytes(".initrd"))).toEqual(Buffer.alloc(1001, 7));
    expect(Buffer.from(pe.bytes(".data").subarray(0, 5)).toString()).toBe(".data");
    const found = await inspectUki(pe, bytesSource(bytes));
    expect(found).toMatchObject({
      kind: "uki",
      architecture: "x86_64",
      signed: false,
      label: "Test OS 4",
      kernelVersion: "6.1.0-test",
      commandLine: `quiet composefs=${ID}`,
      composefs: [{ digest: ID, algorithm: "sha512", insecure: false }],
      problem: undefined,
    });
  });

  it("is the same for the same parts, in memory and as a file, which appears complete", async () => {
    const plan = planUki(parts());
    const path = join(work, "a.efi");
    expect(await writePe(plan, path)).toBe(plan.size);
    expect(readFileSync(path)).toEqual(Buffer.from(peBytes(planUki(parts()))));
    expect(readdirSync(work)).toEqual(["a.efi"]);
  });

  it.each<[string, StubOptions]>([
    ["PE32", { narrow: true, machine: 0x14c }],
    ["no room behind its table", { sections: [".text", ".reloc", ".data", ".rodata"] }],
    ["a debug directory", { sections: [".text", ".a", ".b", ".c"], debug: true }],
    ["much room", { firstData: 4096 }],
    ["a symbol table", { symbols: 180 }],
    ["sections aligned to 512 bytes, as systemd 252", { sectionAlignment: 512, address: 0x4000 }],
    ["pages in the file too", { fileAlignment: 4096 }],
    ["pages of 64 KiB", { sectionAlignment: 65536 }],
  ])("of a stub with %s can be loaded", (_, options) => {
    const machine = options.machine ?? 0x8664;
    const bytes = peBytes(planUki(parts({ stub: stub(options), kernel: bytesSource(makeStub({ machine })) })));
    checkImage(bytes);
    const view = new DataView(bytes.buffer);
    const pe = PeFile.read(bytesSource(bytes), "result");
    for (const name of options.sections ?? [".text", ".data"]) {
      expect(Buffer.from(pe.bytes(name).subarray(0, name.length)).toString()).toBe(name);
    }
    if (options.debug === true) {
      const at = pe.section(".text").rawPointer;
      expect(view.getUint32(at + 16 + 24, true)).toBe(at + 64);
    }
    expect(view.getUint32(64 + 12, true)).toBe(0);
  });

  it("starts every initramfs on four bytes", () => {
    const three = joined([
      bytesSource(Buffer.from("abcde")),
      bytesSource(Buffer.from("fgh")),
      bytesSource(Buffer.from("i")),
    ]);
    expect(three.size).toBe(13);
    expect(Buffer.from(three.read(0, 13)).toString()).toBe("abcde\0\0\0fgh\0i");
    expect(Buffer.from(three.read(4, 6)).toString()).toBe("e\0\0\0fg");
    expect(three.read(12, 50).length).toBe(1);
  });

  it("has what is optional when it is given", () => {
    const bytes = peBytes(
      planUki(
        parts({
          splash: bytesSource(Buffer.from("BM")),
          devicetree: bytesSource(Buffer.from("dtb")),
          microcode: bytesSource(Buffer.from("ucode")),
          sbat: Buffer.from("sbat,1\n"),
          pcrPublicKey: Buffer.from("key"),
          pcrSignature: Buffer.from("{}"),
        }),
      ),
    );
    checkImage(bytes);
    const pe = PeFile.read(bytesSource(bytes), "result");
    expect(
      pe.sections
        .slice(2)
        .map(({ name }) => name)
        .join(" "),
    ).toBe(".osrel .cmdline .dtb .uname .splash .pcrpkey .sbat .initrd .ucode .pcrsig .linux");
  });

  it("can have an empty initramfs and command line", () => {
    const bytes = peBytes(planUki(parts({ initramfs: [bytesSource(new Uint8Array())], commandLine: "" })));
    checkImage(bytes);
    expect(PeFile.read(bytesSource(bytes), "r").bytes(".initrd").length).toBe(0);
  });

  it("warns of long command lines and kernels without a stub", () => {
    const { warnings } = planUki(parts({ commandLine: "x".repeat(3000), kernel: bytesSource(Buffer.from("vmlinuz")) }));
    expect(warnings).toEqual([
      "the kernel has no EFI stub of its own, which current stubs need to start it",
      "the command line has 3000 bytes, kernels take 2047",
    ]);
  });
});

describe("what cannot become a UKI", () => {
  it.each<[string, Partial<UkiParts>, object]>([
    [
      "a signed stub",
      { stub: stub({ signature: 64 }) },
      { code: "unsupported", hint: expect.stringContaining("sbattach") },
    ],
    ["a UKI as its stub", { stub: { bytes: peBytes(planUki(parts())), name: "a.efi" } }, { code: "invalid" }],
    ["a text as its stub", { stub: { bytes: Buffer.alloc(100, "text"), name: "t" } }, { reason: "uki-not-pe" }],
    [
      "a kernel of another processor",
      { kernel: bytesSource(makeStub({ machine: 0xaa64 })) },
      { message: expect.stringContaining("aarch64") },
    ],
    ["a NUL in the command line", { commandLine: "a\0b" }, { code: "invalid" }],
    [
      "headers that would reach the first section",
      { stub: stub({ address: 512, sectionAlignment: 512 }) },
      { code: "unsupported" },
    ],
    [
      "a section that the stub has too",
      { stub: stub({ sections: [".text", ".sbat"] }), sbat: new Uint8Array(1) },
      { code: "unsupported" },
    ],
    ["4 GiB of initramfs", { initramfs: [{ size: 2 ** 32 - 10, read: () => new Uint8Array() }] }, { code: "limit" }],
  ])("%s", (_, more, expected) => {
    let thrown: unknown;
    try {
      planUki(parts(more));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ name: "ComposefsError", ...expected });
  });

  it("data behind the sections that nobody knows", () => {
    const bytes = Buffer.concat([makeStub(), Buffer.from("hidden")]);
    expect(() => planUki(parts({ stub: { bytes, name: "s" } }))).toThrow("unknown data follows its sections");
  });

  it("leaves the old file when a part shrinks, the signal fires, or there is no directory", async () => {
    const path = join(work, "kept.efi");
    writeFileSync(path, "old");
    const shrinking: PeSource = {
      size: 1000,
      read: (position, length) => new Uint8Array(position > 0 ? 0 : length / 2),
    };
    await expect(writePe(planUki(parts({ initramfs: [shrinking] })), path)).rejects.toThrow("ended after 500 of 1000");
    await expect(writePe(planUki(parts()), path, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
    await expect(writePe(planUki(parts()), join(work, "none/x.efi"))).rejects.toMatchObject({ code: "not-found" });
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(work).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

describe("an addon", () => {
  it("has a command line and no kernel", async () => {
    const bytes = peBytes(planAddon({ stub: stub(), commandLine: "console=ttyS0" }));
    checkImage(bytes);
    const found = await inspectUki(PeFile.read(bytesSource(bytes), "a.addon.efi"), bytesSource(bytes));
    expect(found).toMatchObject({ kind: "addon", commandLine: "console=ttyS0", bootDigest: undefined });
  });

  it("must add something", () => expect(() => planAddon({ stub: stub(), kernelVersion: "6" })).toThrow("add nothing"));
});

describe("the checksum", () => {
  it("does not depend on how the bytes are cut", () => {
    const bytes = Uint8Array.from({ length: 100_001 }, (_, i) => (i * 7919) % 256);
    const whole = new PeChecksum();
    whole.update(bytes);
    for (const size of [1, 3, 4096, 33_333]) {
      const cut = new PeChecksum();
      for (let at = 0; at < bytes.length; at += size) cut.update(bytes.subarray(at, at + size));
      expect(cut.digest()).toBe(whole.digest());
    }
  });

  it("stays exact where all bits are set", () => {
    const sum = new PeChecksum();
    for (let i = 0; i < 64; i++) sum.update(new Uint8Array(1 << 18).fill(0xff));
    expect(sum.digest()).toBe(0xffff + 64 * (1 << 18));
  });
});

describe("malformed stubs", () => {
  it("give a named error or a file that can be loaded", () => {
    const original = makeStub();
    let refused = 0;
    for (let at = 0; at < 64 + 24 + 240 + 80; at++) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const bytes = Uint8Array.from(original);
        bytes[at] = value;
        try {
          const plan = planUki(parts({ stub: { bytes, name: "s" } }));
          expect(plan.size).toBeLessThan(0x100000000);
        } catch (error) {
          refused++;
          expect(error).toMatchObject({ name: "ComposefsError" });
        }
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  it("of any length are refused", () => {
    const original = makeStub();
    for (let length = 0; length < original.length; length += 3) {
      expect(() => planUki(parts({ stub: { bytes: original.subarray(0, length), name: "s" } }))).toThrow(
        /s (is|cannot)/,
      );
    }
  });
});

describe("files that are replaced", () => {
  it("lose what killed commands left an hour ago, and nothing younger", async () => {
    const directory = join(work, "left");
    mkdirSync(directory);
    const names = [".composefs-0123456789abcdef", ".composefs-fedcba9876543210", ".composefs-other"];
    for (const name of names) writeFileSync(join(directory, name), "x");
    for (const name of names) utimesSync(join(directory, name), 1, name === names[1] ? Date.now() / 1000 : 1);
    await writePe(planUki(parts()), join(directory, "a.efi"));
    expect(readdirSync(directory).toSorted()).toEqual([names[1], names[2], "a.efi"]);
  });
});

describe("file sources", () => {
  it("are regular files, closed with the block", () => {
    expect(() => openFileSource(work)).toThrow("not a regular file");
    expect(() => openFileSource(join(work, "none"))).toThrow("no such file");
    expect(existsSync(join(work, "a.efi"))).toBe(true);
    using file = openFileSource(join(work, "a.efi"));
    expect(Buffer.from(file.read(0, 2)).toString()).toBe("MZ");
  });
});
