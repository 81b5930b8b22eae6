// UKIs and addons out of files.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { kernelVersionOf } from "../../src/boot/uki/kernel-version.ts";
import { bytesSource, PeFile } from "../../src/boot/pe/read.ts";
import { inspectUki } from "../../src/boot/uki/inspect.ts";
import { buildUki } from "../../src/seal/build-uki.ts";
import { KERNEL, writeSigner } from "../fixtures/sealable.ts";
import { makeStub } from "../fixtures/stub.ts";

const work = mkdtempSync(join(tmpdir(), "build-uki-test-"));
afterAll(() => rmSync(work, { recursive: true }));
const put = (name: string, content: Uint8Array | string) => {
  writeFileSync(join(work, name), content);
  return join(work, name);
};

/** A kernel that says what it is. */
function speaking(version: string, pointer = 0x300): Buffer {
  const bytes = Buffer.alloc(2048);
  makeStub().forEach((byte, at) => at < 0x1f0 && (bytes[at] = byte));
  bytes.write("HdrS", 0x202, "latin1");
  bytes.writeUInt16LE(pointer, 0x20e);
  bytes.write(`${version} (somebody@somewhere) #1\0`, 0x500, "latin1");
  return bytes;
}

const stub = put("stub", makeStub({ sections: [".text", ".data"] }));
const kernel = put("kernel", KERNEL);
const initramfs = [put("one", "first"), put("two", "second")];

describe("a UKI out of files", () => {
  it("has all of them", async () => {
    const path = join(work, "a.efi");
    const built = await buildUki(path, {
      stub,
      kernel,
      initramfs,
      commandLine: "a b",
      kernelVersion: "6",
      osRelease: put("os-release", "ID=x\n"),
      sbat: put("sbat", "sbat,1"),
      pcrPublicKey: put("key", "k"),
      pcrSignature: put("signature", "{}"),
      splash: put("splash", "BM"),
    });
    const bytes = readFileSync(path);
    expect(built).toEqual({ path, kind: "uki", size: bytes.length, signed: false, kernelVersion: "6", warnings: [] });
    const pe = PeFile.read(bytesSource(bytes), "a");
    expect(Buffer.from(pe.bytes(".initrd")).toString()).toBe("first\0\0\0second");
    expect(await inspectUki(pe, bytesSource(bytes))).toMatchObject({
      label: "x",
      commandLine: "a b",
      kernelVersion: "6",
    });
    await buildUki(join(work, "b.efi"), { stub, kernel, initramfs, commandLine: "a b" });
    await buildUki(join(work, "c.efi"), { stub, kernel, initramfs, commandLine: "a b" });
    expect(readFileSync(join(work, "b.efi"))).toEqual(readFileSync(join(work, "c.efi")));
  });

  it("without a kernel is an addon, and is signed", async () => {
    const path = join(work, "x.addon.efi");
    const text = `'${process.execPath}' ${"deno" in process.versions ? "run -A" : ""} '${writeSigner(work)}' {in}`;
    const built = await buildUki(path, { stub, commandLine: "debug" }, { sign: { text, shell: false } });
    expect(built).toMatchObject({ kind: "addon", signed: true, size: readFileSync(path).length });
  });

  it("that fails leaves the old one, and nothing else", async () => {
    const path = put("kept.efi", "old");
    const before = readdirSync(work).toSorted();
    const sign = { text: "false {in}", shell: false };
    await expect(buildUki(path, { stub, kernel }, { sign })).rejects.toThrow("status 1");
    await expect(buildUki(path, { stub: kernel, kernel, initramfs: ["/dev/null/missing"] })).rejects.toThrow(
      "/dev/null/missing",
    );
    await expect(buildUki(path, { stub, kernel }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "aborted",
    });
    await expect(buildUki(path, { stub })).rejects.toThrow("add nothing");
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(work).toSorted()).toEqual(before);
  });
});

describe("the version of a kernel", () => {
  it("is the first word of what it says", () => {
    expect(kernelVersionOf(bytesSource(speaking("6.1.0-13-amd64")))).toBe("6.1.0-13-amd64");
  });

  it.each([
    ["does not say", KERNEL],
    ["points nowhere", speaking("6", 0)],
    ["points past its end", speaking("6", 0xffff)],
    ["is empty", Buffer.alloc(0)],
    ["has control characters", speaking("\u0001\u0002")],
  ])("of one that %s is not known", (_, bytes) => expect(kernelVersionOf(bytesSource(bytes))).toBeUndefined());
});
