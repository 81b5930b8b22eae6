// What `composefs seal` made, started by real firmware: the kernel in the UKI runs with the digest of the image on its command line;
// with Secure Boot and own keys only the signed one does (docs/spec/boot.md, section 5; vm-testing.md, section 12).

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { SealResult } from "../../src/seal/options.ts";
import { sealImage } from "../../src/seal/seal.ts";
import { sealableLayout } from "../fixtures/sealable.ts";
import { makeSigningKey, type SigningKey, systemdStub } from "../fixtures/systemd-stub.ts";
import type { TarEntry } from "../fixtures/tar.ts";
import { describeWithPeers, peer } from "../peer.ts";
import { bootFirmware, describeFirmware } from "./firmware.ts";
import { EMPTY_VARIABLES, variablesWithKey } from "./firmware-variables.ts";
import { initramfs } from "./initramfs.ts";
import { kernel } from "./kernels.ts";
import { describeMachine, program } from "./programs.ts";

const VERSION = "6.1-vm";
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir /proc
/bin/busybox mount -t proc proc /proc
echo "VM: cmdline: $(/bin/busybox cat /proc/cmdline)"
echo "VM: log: $(/bin/busybox dmesg | /bin/busybox grep -i -c 'secure boot enabled')"
echo "VM: end"
/bin/busybox poweroff -f
`;

describeMachine("6.1", "a sealed image and real firmware", () => {
  describeFirmware("OVMF", () => {
    describeWithPeers(["sbsign", "openssl", "tar"], "and sbsign", () => {
      const work = mkdtempSync(join(tmpdir(), "composefs-vm-uki-"));
      afterAll(() => rmSync(work, { recursive: true, force: true }));
      let unsigned: { uki: string; result: SealResult };
      let signed: { uki: string; result: SealResult };
      let own: SigningKey;

      beforeAll(async () => {
        own = makeSigningKey(work, "own");
        const modules = `usr/lib/modules/${VERSION}`;
        const more: TarEntry[] = [
          { path: "usr/lib/modules", type: "directory" },
          { path: modules, type: "directory" },
          { path: `${modules}/vmlinuz`, content: readFileSync(kernel("6.1").image) },
          {
            path: `${modules}/initramfs.img`,
            content: initramfs([
              { path: "init", content: Buffer.from(INIT), mode: 0o755 },
              { path: "bin/busybox", content: readFileSync(program("busybox")), mode: 0o755 },
            ]),
          },
        ];
        const { reference } = sealableLayout(join(work, "layout"), { without: ["usr/lib/modules"], more });
        const text = `${peer("sbsign")} --key ${own.key} --cert ${own.certificate} --output {out} {in}`;
        unsigned = await seal(reference, "unsigned", undefined);
        signed = await seal(reference, "signed", { text, shell: false });
      });

      /** Seals, and takes the UKI out of the image again. */
      async function seal(reference: string, name: string, sign: { text: string; shell: boolean } | undefined) {
        const directory = join(work, name);
        const result = await sealImage(
          { kind: "reference", reference },
          { kind: "layout", directory, tag: "s" },
          {
            stub: systemdStub().name,
            kernelArguments: ["console=ttyS0", "panic=-1", "quiet"],
            temporaryDirectory: work,
            sign,
          },
        );
        const blob = (digest: string) => join(directory, "blobs/sha256", digest.slice("sha256:".length));
        const manifest = JSON.parse(readFileSync(blob(result.manifestDigest), "utf8")) as {
          layers: { digest: string }[];
        };
        const out = join(work, `${name}-files`);
        mkdirSync(out);
        execFileSync(program("tar"), ["-xf", blob(manifest.layers.at(-1)?.digest ?? ""), "-C", out]);
        return { uki: join(out, result.ukiPath), result };
      }

      it("boots: the running kernel has the digest on its command line", async () => {
        const console = await bootFirmware(unsigned.uki, readFileSync(EMPTY_VARIABLES), /^VM: end/m);
        const { bootId, commandLine } = unsigned.result;
        expect(commandLine).toContain(`composefs=${bootId}`);
        expect(console).toContain(`VM: cmdline: ${commandLine}\n`);
        expect(console).toContain("VM: log: 0\n");
      });

      it("boots with Secure Boot when it is signed with the key that is enrolled", async () => {
        expect(signed.result.bootId).toBe(unsigned.result.bootId);
        const console = await bootFirmware(signed.uki, variablesWithKey(own.certificate), /^VM: end|Access Denied/m);
        expect(console).toContain(`VM: cmdline: ${signed.result.commandLine}\n`);
        expect(console).toContain("VM: log: 1\n");
      });

      it("does not boot with Secure Boot when it is not signed, or was changed afterwards", async () => {
        const variables = variablesWithKey(own.certificate);
        const changed = readFileSync(signed.uki);
        const at = changed.indexOf(signed.result.bootId);
        changed.write(changed.toString("latin1", at, at + 1) === "0" ? "1" : "0", at);
        const forged = join(work, "forged.efi");
        writeFileSync(forged, changed);
        for (const uki of [unsigned.uki, forged]) {
          const console = await bootFirmware(uki, variables, /^VM: end|Access Denied/m);
          expect(console).toContain("Access Denied");
          expect(console).not.toContain("VM: cmdline");
        }
      });
    });
  });
});
