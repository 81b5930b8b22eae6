// UKIs out of systemd's own stub: binutils reads and extracts every section, sbsign and sbverify accept the file, and a UKI that
// objcopy made is read by us (docs/spec/boot.md, section 5).

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openFileSource } from "../../src/boot/file-source.ts";
import { bytesSource, PeFile } from "../../src/boot/pe/read.ts";
import { readPeImage } from "../../src/boot/pe/image.ts";
import { holdsPlanned } from "../../src/boot/pe/payload.ts";
import { inspectUki } from "../../src/boot/uki/inspect.ts";
import { planAddon, planUki, type UkiParts, writePe } from "../../src/boot/uki/write.ts";
import { describeWithPeers, peerOutput, runPeer, skipOrFail } from "../peer.ts";
import { makeStub } from "../fixtures/stub.ts";
import { makeSigningKey, STUB_REMEDY, systemdStub } from "../fixtures/systemd-stub.ts";

const CONTENTS: Readonly<Record<string, Buffer>> = {
  ".osrel": Buffer.from('PRETTY_NAME="Test OS"\n'),
  ".cmdline": Buffer.from(`quiet composefs=${"ab".repeat(64)}`),
  ".uname": Buffer.from("6.1.0-test"),
  ".splash": Buffer.alloc(777, "BM"),
  ".initrd": Buffer.alloc(3_000_001, "initramfs"),
  ".linux": Buffer.concat([makeStub(), Buffer.alloc(5_000_003, "kernel")]),
};

function parts(): UkiParts {
  const source = (name: string) => bytesSource(CONTENTS[name] as Buffer);
  const text = (name: string) => (CONTENTS[name] as Buffer).toString();
  return {
    stub: systemdStub(),
    kernel: source(".linux"),
    initramfs: [source(".initrd")],
    commandLine: text(".cmdline"),
    osRelease: CONTENTS[".osrel"] as Buffer,
    kernelVersion: text(".uname"),
    splash: source(".splash"),
  };
}

/** Sections as objdump lists them. */
function listed(path: string): { name: string; size: number; address: number; offset: number }[] {
  const rows = peerOutput("objdump", ["-h", path]).matchAll(
    /^ +\d+ (\S+) +([0-9a-f]+) +([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) /gm,
  );
  return [...rows].map(([, name = "", size = "", address = "", offset = ""]) => ({
    name,
    size: Number.parseInt(size, 16),
    address: Number.parseInt(address, 16),
    offset: Number.parseInt(offset, 16),
  }));
}

if (STUB_REMEDY !== undefined) describe("UKIs of systemd's stub", () => skipOrFail(STUB_REMEDY as string));
else {
  const work = mkdtempSync(join(tmpdir(), "composefs-uki-"));
  afterAll(() => rmSync(work, { recursive: true }));

  describeWithPeers(["objdump", "objcopy"], "UKIs of systemd's stub and binutils", () => {
    it("objdump lists the same sections, and objcopy extracts what went in", async () => {
      const path = join(work, "listed.efi");
      const plan = planUki(parts());
      await writePe(plan, path);
      const { sections } = PeFile.read(bytesSource(readFileSync(path)), path);
      expect(listed(path)).toEqual(
        sections.map(({ name, virtualSize, virtualAddress, rawPointer, rawSize }) => ({
          name,
          size: Math.min(virtualSize, rawSize),
          address: virtualAddress,
          offset: rawPointer,
        })),
      );
      for (const [name, content] of Object.entries(CONTENTS)) {
        const out = join(work, "section");
        peerOutput("objcopy", ["-O", "binary", "--dump-section", `${name}=${out}`, path, "/dev/null"]);
        expect(readFileSync(out).equals(content), name).toBe(true);
      }
      const header = peerOutput("objdump", ["-p", path]);
      expect(header).toContain("EFI application");
      const size = Number.parseInt(/^SizeOfImage\s+([0-9a-f]+)/m.exec(header)?.[1] ?? "", 16);
      const last = sections.at(-1);
      expect(size).toBeGreaterThanOrEqual((last?.virtualAddress ?? 0) + (last?.virtualSize ?? 0));
    });

    it("the stub's code is where it was", async () => {
      const stub = systemdStub();
      const path = join(work, "code.efi");
      await writePe(planUki(parts()), path);
      const made = PeFile.read(bytesSource(readFileSync(path)), path);
      const original = PeFile.read(bytesSource(stub.bytes), "stub");
      for (const { name, virtualAddress } of original.sections) {
        expect(made.section(name).virtualAddress).toBe(virtualAddress);
        expect(Buffer.from(made.bytes(name)).equals(Buffer.from(original.bytes(name))), name).toBe(true);
      }
    });

    it("what objcopy made of the same parts is read the same", async () => {
      const path = join(work, "objcopy.efi");
      let address = 0x20000;
      const args = Object.entries(CONTENTS).flatMap(([name, content]) => {
        const file = join(work, name);
        writeFileSync(file, content);
        const at = address;
        address += Math.ceil(content.length / 4096) * 4096;
        return ["--add-section", `${name}=${file}`, "--change-section-vma", `${name}=0x${at.toString(16)}`];
      });
      peerOutput("objcopy", [...args, systemdStub().name, path]);
      const mine = join(work, "mine.efi");
      await writePe(planUki(parts()), mine);
      const inspect = async (name: string) => {
        using file = openFileSource(name);
        const { sections, size: _, ...rest } = await inspectUki(PeFile.read(file, "a UKI"), file);
        const digests = sections.filter(({ name: section }) => section in CONTENTS);
        return { ...rest, sections: digests.map(({ name: section, sha256 }) => `${section} ${sha256}`).toSorted() };
      };
      expect(await inspect(path)).toEqual(await inspect(mine));
    });
  });

  describeWithPeers(["sbsign", "sbverify", "openssl"], "signatures", () => {
    it.each([
      ["a UKI", () => planUki(parts())],
      ["an addon", () => planAddon({ stub: systemdStub(), commandLine: "console=ttyS0" })],
    ] as const)("sbsign signs %s, sbverify verifies it, and nothing else has changed", async (_, make) => {
      const own = makeSigningKey(work, "own");
      const other = makeSigningKey(work, "other");
      const plan = make();
      const path = join(work, "unsigned.efi");
      const signed = join(work, "signed.efi");
      await writePe(plan, path);
      const { stderr } = runPeer("sbsign", ["--key", own.key, "--cert", own.certificate, "--output", signed, path]);
      // It complains of gaps and of data that no section covers.
      expect(stderr).not.toMatch(/warning|gap|error/i);
      expect(peerOutput("sbverify", ["--cert", own.certificate, signed])).toContain("Signature verification OK");
      expect(runPeer("sbverify", ["--cert", other.certificate, signed]).status).toBe(1);
      using file = openFileSource(signed);
      expect(readPeImage(file, signed).signatureBytes).toBeGreaterThan(500);
      expect(holdsPlanned(plan, file, signed)).toBe(true);
      const changed = readFileSync(signed);
      changed[changed.indexOf(plan.sections.some(({ name }) => name === ".linux") ? "quiet" : "console")] = 0x58;
      expect(holdsPlanned(plan, bytesSource(changed), signed)).toBe(false);
      writeFileSync(signed, changed);
      expect(runPeer("sbverify", ["--cert", own.certificate, signed]).status).toBe(1);
    });

    it("a signed stub is refused", () => {
      const own = makeSigningKey(work, "own");
      const signed = join(work, "signed.stub");
      peerOutput("sbsign", ["--key", own.key, "--cert", own.certificate, "--output", signed, systemdStub().name]);
      expect(() => planUki({ ...parts(), stub: { bytes: readFileSync(signed), name: signed } })).toThrow("is signed");
    });
  });
}
