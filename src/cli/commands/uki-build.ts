// `composefs uki build OUTPUT`: a unified kernel image or an addon out of files

import type { Command } from "../command.ts";
import { SIGNING_OPTIONS, signingCommand } from "../signing-options.ts";

const file = (name: string, description: string) => ({ name, value: "FILE", description, completes: "file" }) as const;

export const ukiBuild: Command = {
  name: "uki build",
  summary: "assemble a unified kernel image, or an addon, out of files",
  description:
    "With --kernel it becomes a UKI, without one an addon, whose arguments the firmware's user adds by putting it beside a UKI. " +
    "Without --sign the result is the same for the same files, byte for byte. OUTPUT appears complete or not at all. " +
    "To put the UKI of an image into the image, with its digest, see composefs seal.",
  arguments: [{ name: "OUTPUT", description: "the file to write", completes: "file" }],
  options: [
    file("stub", "systemd's stub: linuxx64.efi.stub, for addons addonx64.efi.stub; required"),
    file("kernel", "the kernel"),
    {
      name: "initramfs",
      value: "FILE",
      repeat: true,
      description: "its initramfs; several follow one another",
      completes: "file",
    },
    { name: "cmdline", value: "TEXT", repeat: true, description: "kernel arguments; several are joined with spaces" },
    file("os-release", "what the boot menu shows"),
    { name: "kernel-version", value: "VERSION", description: "what the kernel says it is when left out" },
    file("splash", "a BMP picture to show"),
    file("devicetree", "a device tree"),
    file("microcode", "microcode, as an initramfs"),
    file("sbat", "revocation data, for stubs that have none"),
    file("pcr-public-key", "public key of TPM policies"),
    file("pcr-signature", "signatures of TPM policies, as systemd-measure makes them"),
    ...SIGNING_OPTIONS,
  ],
  examples: [
    {
      line: "uki build os.efi --stub linuxx64.efi.stub --kernel vmlinuz --initramfs initrd --cmdline quiet",
      says: "a UKI",
    },
    {
      line: "uki build debug.addon.efi --stub addonx64.efi.stub --cmdline 'console=ttyS0 debug'",
      says: "an addon",
    },
  ],
  interrupted: "interrupted; nothing was written",
  async run(context) {
    const { args, global, out, text, list, signal, progress } = context;
    const [path = ""] = args;
    const { buildUki } = await import("../../seal/build-uki.ts");
    const { UsageError } = await import("../failure.ts");
    const stub = text("stub");
    if (stub === undefined)
      throw new UsageError("--stub is needed", "systemd's lie in /usr/lib/systemd/boot/efi, as linuxx64.efi.stub");
    if (text("kernel") === undefined && list("initramfs").length > 0)
      throw new UsageError("an initramfs needs a kernel", "give it with --kernel; addons have neither");
    const lines = list("cmdline");
    const files = {
      stub,
      kernel: text("kernel"),
      initramfs: list("initramfs"),
      commandLine: lines.length === 0 ? undefined : lines.join(" "),
      osRelease: text("os-release"),
      kernelVersion: text("kernel-version"),
      splash: text("splash"),
      devicetree: text("devicetree"),
      microcode: text("microcode"),
      sbat: text("sbat"),
      pcrPublicKey: text("pcr-public-key"),
      pcrSignature: text("pcr-signature"),
    };
    const built = await buildUki(path, files, { sign: signingCommand(context), signal, onProgress: progress });
    if (global.json) {
      const { kernelVersion, ...rest } = built;
      await out.json({ ...rest, kernel_version: kernelVersion ?? null });
    } else
      await out.line(`${built.path}: ${built.kind}, ${built.size} bytes, ${built.signed ? "signed" : "not signed"}`);
  },
};
