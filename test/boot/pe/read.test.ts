// docs/spec/boot.md, section 5: the recorded PE files, and foreign ones.

import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { findComposefsArgument } from "../../../src/boot/kargs/composefs-argument.ts";
import { openFileSource } from "../../../src/boot/file-source.ts";
import { bytesSource, PeFile, type PeSource } from "../../../src/boot/pe/read.ts";
import { ukiBootDigest, ukiCommandLine, ukiLabel, untilNul } from "../../../src/boot/uki/uki.ts";
import { extractUki } from "../../../src/boot/uki/extract.ts";
import { ComposefsError } from "../../../src/error.ts";
import { goldensDir } from "../../goldens-dir.ts";

type OrError<T> = T | { readonly error: string };

interface Case {
  readonly file: string;
  readonly size: number;
  readonly sections: Record<string, OrError<{ length: number; sha256: string }>>;
  readonly cmdline: OrError<string>;
  readonly label: OrError<string>;
  readonly boot_digest?: string;
  readonly karg_sha256?: { readonly digest: string; readonly insecure: boolean } | null;
}

const folder = goldensDir("boot");
const { cases } = JSON.parse(readFileSync(join(folder, "uki.json"), "utf8")) as { cases: Case[] };
const work = mkdtempSync(join(tmpdir(), "pe-test-"));
afterAll(() => rmSync(work, { recursive: true }));

/** A result, or the class of the error. */
function outcome<T>(action: () => T): OrError<T> {
  try {
    return action();
  } catch (error) {
    return failure(error);
  }
}

function failure(error: unknown): { error: string } {
  if (!(error instanceof ComposefsError) || error.reason === undefined) throw error;
  return { error: error.reason };
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe("recorded PE files", () => {
  it("are all listed", () => {
    expect(cases.length).toBeGreaterThan(25);
    expect(cases.map(({ file }) => file.slice("uki/".length)).toSorted()).toEqual(
      readdirSync(join(folder, "uki")).toSorted(),
    );
  });

  for (const kind of ["bytes", "file"] as const) {
    it.each(cases)(`$file as ${kind}`, async (expected) => {
      const path = join(folder, expected.file);
      using file = openFileSource(path);
      const source: PeSource = kind === "file" ? file : bytesSource(readFileSync(path));
      expect(source.size).toBe(expected.size);
      const open = () => PeFile.read(source, expected.file);
      for (const [name, content] of Object.entries(expected.sections)) {
        const found = outcome(() => {
          const bytes = open().bytes(name);
          expect(sha256(Buffer.concat([...open().chunks(name)]))).toBe(sha256(bytes));
          return { length: bytes.length, sha256: sha256(bytes) };
        });
        expect(found, name).toEqual(content);
      }
      expect(outcome(() => ukiCommandLine(open()))).toEqual(expected.cmdline);
      expect(outcome(() => ukiLabel(open()))).toEqual(expected.label);
      const digest = await (async () => ukiBootDigest(open()))().catch((error: unknown) => failure(error));
      if (expected.boot_digest === undefined) expect(digest).toMatchObject({ error: expect.stringMatching(/^uki-/) });
      else expect(digest).toBe(expected.boot_digest);
      if (expected.karg_sha256 === undefined) return;
      const found = findComposefsArgument(untilNul(ukiCommandLine(open())), "sha256");
      if (expected.karg_sha256 === null) expect(found).toBeUndefined();
      else expect(found).toMatchObject(expected.karg_sha256);
    });
  }
});

const full = readFileSync(join(folder, "uki/full.efi"));

describe("foreign PE files", () => {
  /** A source that counts what is asked of it. */
  function watched(bytes: Uint8Array): PeSource & { largest: number } {
    return {
      largest: 0,
      size: bytes.length,
      read(position, length) {
        expect(position).toBeGreaterThanOrEqual(0);
        expect(position + length).toBeLessThanOrEqual(bytes.length);
        this.largest = Math.max(this.largest, length);
        return bytes.subarray(position, position + length);
      },
    };
  }

  it("with any byte of their headers changed give a result or a named error, and no read leaves the file", () => {
    let refused = 0;
    for (let at = 0; at < 300; at++) {
      for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff]) {
        const bytes = Uint8Array.from(full);
        bytes[at] = value;
        const source = watched(bytes);
        for (const name of [".linux", ".initrd", ".cmdline", ".osrel", ".uname"]) {
          const result = outcome(() => PeFile.read(source, "x").bytes(name).length);
          if (typeof result === "object") {
            refused++;
            expect(["uki-not-pe", "uki-no-section"]).toContain(result.error);
          }
        }
        expect(source.largest).toBeLessThanOrEqual(bytes.length);
      }
    }
    expect(refused).toBeGreaterThan(500);
  });

  it("cut anywhere give a named error or what lies before the cut", () => {
    for (let length = 0; length < full.length; length++) {
      const source = watched(full.subarray(0, length));
      const result = outcome(() => PeFile.read(source, "x").bytes(".initrd").length);
      expect(result).toEqual({ error: "uki-not-pe" });
    }
  });

  it("that shrink while they are read are refused", () => {
    const source = { size: full.length, read: (p: number, n: number) => full.subarray(p, Math.min(p + n, 400)) };
    expect(outcome(() => PeFile.read(source, "x").bytes(".initrd"))).toEqual({ error: "uki-not-pe" });
  });

  it("with a huge text section do not have it decoded", () => {
    const bytes = new Uint8Array((1 << 20) + 1024);
    bytes.set(full);
    const table = new DataView(bytes.buffer);
    const at = full.indexOf(".cmdline");
    table.setUint32(at + 8, (1 << 20) + 1, true);
    table.setUint32(at + 20, 0, true);
    expect(() => ukiCommandLine(PeFile.read(bytesSource(bytes), "x"))).toThrow("1048577 bytes of text");
  });

  it("tell their processor", () => {
    const bytes = Uint8Array.from(full);
    const machine = full.indexOf("PE\0\0") + 4;
    for (const [number, name] of [
      [0x8664, "x86_64"],
      [0xaa64, "aarch64"],
      [0x1234, undefined],
    ] as const) {
      new DataView(bytes.buffer).setUint16(machine, number, true);
      expect(PeFile.read(bytesSource(bytes), "x").architecture).toBe(name);
    }
  });
});

describe("extraction", () => {
  const open = (bytes: Uint8Array) => PeFile.read(bytesSource(bytes), "full.efi");

  it("writes kernel and initramfs below the version, and never over something", () => {
    const uki = open(full);
    const { kernel, directory, files } = extractUki(uki, join(work, "out"));
    expect(directory).toBe(join(work, "out", kernel));
    expect(readdirSync(join(work, "out"))).toEqual([kernel]);
    expect(files.map(({ path, size }) => [path, size])).toEqual([
      [join(directory, "vmlinuz"), 100],
      [join(directory, "initramfs.img"), 120],
    ]);
    expect(readFileSync(join(directory, "vmlinuz"))).toEqual(Buffer.from(uki.bytes(".linux")));
    expect(readFileSync(join(directory, "initramfs.img"))).toEqual(Buffer.from(uki.bytes(".initrd")));
    expect(() => extractUki(uki, join(work, "out"))).toThrow("exists already");
    expect(readdirSync(join(work, "out"))).toEqual([kernel]);
  });

  it.each(["../evil", "..", ".", "a/b", "", "a\0b", "a\nb"])("refuses the version %j", (version) => {
    const bytes = Uint8Array.from(full);
    const header = full.indexOf(".uname");
    const table = new DataView(bytes.buffer);
    table.setUint32(header + 8, version.length, true);
    bytes.set(Buffer.from(version), table.getUint32(header + 20, true));
    const out = join(work, "bad");
    if (version === "a\0b") expect(extractUki(open(bytes), out).kernel).toBe("a");
    else {
      expect(outcome(() => extractUki(open(bytes), out))).toEqual({ error: "invalid-name" });
      writeFileSync(join(work, "still-there"), "");
      expect(readdirSync(work)).not.toContain("evil");
    }
  });

  it("leaves nothing behind when a section is broken", () => {
    const bytes = Uint8Array.from(full.subarray(0, full.length - 30));
    expect(outcome(() => extractUki(open(bytes), join(work, "cut")))).toEqual({ error: "uki-not-pe" });
    expect(readdirSync(work)).not.toContain("cut");
  });
});
