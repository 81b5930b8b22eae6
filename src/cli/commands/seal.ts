// `composefs seal IMAGE [OUTPUT]`: from an image to one that boots sealed (docs/spec/boot.md, sections 2, 5 and 14)

import { writeFile } from "node:fs/promises";
import type { SealAddon, SealOptions, SealOutput, SealPlan, SealResult, SealSource } from "../../index.ts";
import type { Command, Context } from "../command.ts";
import { UsageError } from "../failure.ts";
import { SIGNING_OPTIONS, signingCommand } from "../signing-options.ts";
import { TREE_OPTIONS, xattrMode } from "../tree-options.ts";

const file = (name: string, description: string) => ({ name, value: "FILE", description, completes: "file" }) as const;

export const seal: Command = {
  name: "seal",
  summary: "make an image boot with a verified root: a UKI with its digest, signed, put into the image",
  description:
    "IMAGE is oci:DIRECTORY[:TAG], an image of the repository, or the directory of a root file system. The digest of its boot " +
    "image goes on the kernel command line, with the image's kargs.d before and --cmdline behind it; stub, kernel, initramfs, " +
    "os-release and command line become a unified kernel image, which is signed and added as a layer. It lies in /boot, whose " +
    "content is no part of the digest. The config gets the label containers.composefs.fsverity. OUTPUT is oci:DIRECTORY[:TAG] " +
    "or a tag of the repository; whatever fails leaves it as it was. Without --sign the result is the same for the same image, " +
    "byte for byte. No root is needed. The hash is --hash, else the repository's, else sha512; the format is --erofs-version, " +
    "else 2: what bootc boots.",
  arguments: [
    { name: "IMAGE", description: "the image, or a directory", completes: "reference" },
    {
      name: "OUTPUT",
      optional: true,
      description: "where the sealed image goes; not with --dry-run",
      completes: "reference",
    },
  ],
  options: [
    { name: "dry-run", description: "print digest, command line and parts; write nothing" },
    { name: "cmdline", value: "ARGUMENT", repeat: true, description: "another kernel argument" },
    ...SIGNING_OPTIONS,
    {
      name: "addon",
      value: "NAME=ARGUMENTS",
      repeat: true,
      description: "an addon beside the UKI, with kernel arguments for those who choose it",
    },
    file("addon-stub", "systemd's stub of addons; that of the image, else of this machine, when left out"),
    file("kernel", "kernel of the UKI; the image's /usr/lib/modules/VERSION/vmlinuz when left out"),
    {
      name: "initramfs",
      value: "FILE",
      repeat: true,
      description: "its initramfs; the initramfs.img beside the kernel when left out",
      completes: "file",
    },
    { name: "kernel-version", value: "VERSION", description: "which kernel of the image; names the UKI" },
    file("stub", "systemd's stub; that of the image, else of this machine, when left out"),
    file("os-release", "os-release of the UKI; the image's when left out"),
    file("splash", "a BMP picture to show"),
    file("devicetree", "a device tree"),
    file("microcode", "microcode, as an initramfs"),
    {
      name: "uki-path",
      value: "PATH",
      description: "its place below /boot; /boot/EFI/Linux/VERSION.efi when left out",
    },
    { name: "replace", description: "remove other UKIs below /boot: to seal a sealed image again" },
    { name: "allow-missing-verity", description: "let it boot on file systems without fs-verity" },
    { name: "platform", value: "OS/ARCH[/VARIANT]", description: "which image of an index; what a directory is for" },
    ...TREE_OPTIONS,
    {
      name: "work-dir",
      value: "DIRECTORY",
      description: "for temporary files, as large as the image; $TMPDIR when left out",
      completes: "directory",
    },
    file("digest-file", "write the manifest digest into FILE"),
  ],
  examples: [
    { line: "seal oci:./os:v1 oci:./os:v1-sealed", says: "unsigned, with kernel, initramfs and stub of the image" },
    {
      line: "seal oci:./os:v1 oci:./os:sealed --sign 'sbsign --key db.key --cert db.crt --output {out} {in}'",
      says: "for Secure Boot with own keys",
    },
    { line: "seal ./rootfs oci:./os:v1 --cmdline console=ttyS0", says: "of a directory" },
    { line: "seal --repo /srv/images os:v1 os:v1-sealed", says: "within a repository" },
    { line: "seal --dry-run --json oci:./os:v1", says: "only what it would be" },
  ],
  interrupted: "interrupted; nothing of the sealed image was published",
  async run(context) {
    const [image = "", outputName] = context.args;
    const isDry = context.flag("dry-run");
    if (isDry && outputName !== undefined)
      throw new UsageError("--dry-run writes nothing", "leave OUTPUT or --dry-run out");
    if (!isDry && outputName === undefined)
      throw new UsageError("nothing says where the sealed image goes", "write oci:DIRECTORY:TAG or a tag behind it");
    const platform = context.text("platform");
    const { parsePlatform } = await import("../../oci/platform.ts");
    const wantedPlatform = platform === undefined ? undefined : parsePlatform(platform);
    const options = { ...sealOptions(context), platform: wantedPlatform };
    const { parseOutputName, parseSourceName } = await import("../../seal/names.ts");
    const { planSeal, sealImage } = await import("../../seal/seal.ts");
    const from = parseSourceName(image);
    const to = outputName === undefined ? undefined : await parseOutputName(outputName);
    const needsRepository = from.kind === "stored" || to?.kind === "tag";
    await using repository = needsRepository
      ? await context.openRepository({
          write: to?.kind === "tag",
          create: to?.kind === "tag" && from.kind !== "stored",
        })
      : undefined;
    const source = (from.kind === "stored" ? { ...from, repository } : from) as SealSource;
    const wanted = repository === undefined ? options : { ...options, algorithm: repository.algorithm };
    if (to === undefined) {
      const plan = await planSeal(source, wanted);
      await (context.global.json ? context.out.json(planJson(plan)) : context.out.write(planText(plan)));
      return;
    }
    const output = (to.kind === "tag" ? { ...to, repository } : to) as SealOutput;
    const result = await sealImage(source, output, wanted);
    const digestFile = context.text("digest-file");
    if (digestFile !== undefined) await writeFile(digestFile, `${result.manifestDigest}\n`);
    if (context.global.json) await context.out.json(resultJson(result, outputName as string));
    else await context.out.write(resultText(result, outputName as string));
  },
};

function sealOptions(context: Context): SealOptions {
  const { text, list, flag, global } = context;
  return {
    algorithm: global.hash,
    version: global.erofsVersion ?? 2,
    xattrs: xattrMode(context),
    allowMissingVerity: flag("allow-missing-verity"),
    kernelArguments: list("cmdline"),
    addons: sealAddons(context),
    addonStub: text("addon-stub"),
    sign: signingCommand(context),
    kernel: text("kernel"),
    initramfs: list("initramfs"),
    kernelVersion: text("kernel-version"),
    stub: text("stub"),
    osRelease: text("os-release"),
    splash: text("splash"),
    devicetree: text("devicetree"),
    microcode: text("microcode"),
    ukiPath: text("uki-path"),
    replace: flag("replace"),
    temporaryDirectory: text("work-dir"),
    signal: context.signal,
    onProgress: context.progress,
  };
}

function sealAddons({ list }: Context): SealAddon[] {
  return list("addon").map((text) => {
    const equals = text.indexOf("=");
    if (equals > 0) return { name: text.slice(0, equals), commandLine: text.slice(equals + 1) };
    throw new UsageError(
      `option --addon takes NAME=ARGUMENTS, not "${text}"`,
      "for example --addon debug=console=ttyS0",
    );
  });
}

function planText(plan: SealPlan): string {
  const parts = Object.entries(partPaths(plan)).map(
    ([name, { path, from }]) => `${name.padEnd(8)} ${path} (${from})\n`,
  );
  return (
    `boot     ${plan.bootId}\n` +
    `cmdline  ${plan.commandLine}\n` +
    `uki      ${plan.ukiPath} (${plan.ukiSize} bytes, kernel ${plan.kernelVersion})\n` +
    plan.addonPaths.map((path) => `addon    ${path}\n`).join("") +
    parts.join("") +
    plan.replaced.map((path) => `replaces ${path}\n`).join("")
  );
}

function resultText(result: SealResult, output: string): string {
  return (
    `boot     ${result.bootId}\n` +
    `cmdline  ${result.commandLine}\n` +
    `uki      ${result.ukiPath} (${result.ukiSize} bytes, ${result.signed ? "signed" : "not signed"})\n` +
    result.addonPaths.map((path) => `addon    ${path}\n`).join("") +
    `manifest ${result.manifestDigest}\n` +
    `config   ${result.configDigest}\n` +
    `image    ${result.imageId}\n` +
    `written  ${output}\n`
  );
}

/** Where each part comes from. */
function partPaths({ parts }: SealPlan): Record<string, { path: string; from: string }> {
  const { kernel, initramfs, stub, osRelease } = parts;
  const named = [
    ["kernel", kernel],
    ...initramfs.map((part, index) => [index === 0 ? "initrd" : `initrd${index + 1}`, part] as const),
    ["stub", stub],
    ["osrel", osRelease],
    ["splash", parts.splash],
    ["dtb", parts.devicetree],
    ["ucode", parts.microcode],
  ] as const;
  return Object.fromEntries(
    named.flatMap(([name, part]) => (part === undefined ? [] : [[name, { path: part.path, from: part.from }]])),
  ) as Record<string, { path: string; from: string }>;
}

function planJson(plan: SealPlan): object {
  return {
    boot_image: plan.bootId,
    algorithm: plan.algorithm,
    format: plan.version,
    command_line: plan.commandLine,
    kernel_version: plan.kernelVersion,
    uki: { path: plan.ukiPath, size: plan.ukiSize, replaces: plan.replaced, addons: plan.addonPaths },
    parts: partPaths(plan),
    warnings: plan.warnings,
  };
}

function resultJson(result: SealResult, output: string): object {
  const { uki, ...plan } = planJson(result) as { uki: object };
  return {
    output,
    manifest: result.manifestDigest,
    config: result.configDigest,
    image: result.imageId,
    ...plan,
    uki: { ...uki, signed: result.signed },
  };
}
