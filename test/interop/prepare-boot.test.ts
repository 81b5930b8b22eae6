// `oci prepare-boot` and that of cfsctl on the same images: the same files below the boot directory, the same state directories, byte for
// byte but for what docs/spec/boot.md, section 9, calls a fix.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { renderComposefsArgument } from "../../src/boot/kargs/composefs-argument.ts";
import type { FormatVersion } from "../../src/core/erofs.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { prepareBoot } from "../../src/oci/prepare-boot.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { type BootFiles, bootLayout, ENTRY_ROOT, KERNEL_ROOT, uki } from "../fixtures/boot-layouts.ts";
import { describeWithPeers, runPeer } from "../peer.ts";

interface Variant {
  algorithm: Algorithm;
  format: 0 | 1 | 2;
  /** Formats that are made besides. */
  extra?: FormatVersion[];
}
const VARIANTS: Variant[] = [
  { algorithm: "sha256", format: 1 },
  { algorithm: "sha256", format: 2 },
  { algorithm: "sha512", format: 1 },
  { algorithm: "sha512", format: 2 },
];

interface Options {
  entryId?: string;
  cmdline?: string[];
}

/** Everything below a directory but the repository and layouts: directories end in a slash. */
function below(root: string): Record<string, string> {
  return Object.fromEntries(
    ["boot", "state"].flatMap((top) =>
      readdirSync(join(root, top), { recursive: true, encoding: "latin1" }).map((name) => {
        const path = join(root, top, name);
        return statSync(path).isDirectory()
          ? [`${top}/${name}/`, ""]
          : [`${top}/${name}`, readFileSync(path, "latin1")];
      }),
    ),
  );
}

describeWithPeers(["cfsctl"], "prepare-boot", () => {
  let work = "";
  let count = 0;
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), "composefs-interop-boot-"));
  });
  afterAll(() => {
    if (work !== "") rmSync(work, { recursive: true, force: true });
  });

  const cfsctl = (root: string, ...args: string[]) => runPeer("cfsctl", ["--repo", join(root, "composefs"), ...args]);

  /** Two sysroots with the image: one made and prepared by cfsctl, the other by us. */
  async function both(files: BootFiles, { algorithm, format, extra }: Variant, { entryId, cmdline = [] }: Options) {
    const base = join(work, `${count++}`);
    const { reference } = bootLayout(join(base, "layout"), "t", files);
    const [theirs, ours] = [join(base, "theirs"), join(base, "ours")];
    for (const root of [theirs, ours]) {
      const path = join(root, "composefs");
      await Repository.init(path, { algorithm, insecure: true, erofsVersion: format });
      if (extra !== undefined) {
        const meta = JSON.parse(readFileSync(join(path, "meta.json"), "utf8")) as object;
        writeFileSync(join(path, "meta.json"), JSON.stringify({ ...meta, erofs_formats: { default: format, extra } }));
      }
      await using repository = await Repository.open(path, { write: true, durability: "none" });
      await pull(repository, reference, { tag: "t" });
    }
    const words = [
      "oci",
      "prepare-boot",
      "t",
      "--bootdir",
      join(theirs, "boot"),
      ...(entryId === undefined ? [] : ["--entry-id", entryId]),
      ...cmdline.flatMap((argument) => ["--cmdline", argument]),
    ];
    const peer = cfsctl(theirs, ...words);
    await using repository = await Repository.open(join(ours, "composefs"), { write: true, durability: "none" });
    const prepared = await prepareBoot(repository, "t", {
      bootDirectory: join(ours, "boot"),
      entryId,
      kernelArguments: cmdline,
    }).catch((error: unknown) => error as Error);
    return { peer, prepared, theirs, ours };
  }

  const OPTIONS: Options[] = [{}, { entryId: "my-id" }, { cmdline: ["rw", "console=ttyS0", 'a="b c"'] }];

  test.each(VARIANTS.flatMap((variant) => OPTIONS.map((options) => ({ ...variant, ...options }))))(
    "a kernel and an entry: $algorithm, V$format, $entryId $cmdline",
    async (c) => {
      for (const files of [KERNEL_ROOT, ENTRY_ROOT]) {
        const { peer, prepared, theirs, ours } = await both(files, c, c);
        expect(peer.stderr).toBe("");
        expect(peer.status).toBe(0);
        expect(prepared).not.toBeInstanceOf(Error);
        expect(below(ours)).toEqual(below(theirs));
        // Their repository holds the boot image that ours has, and the other way round.
        const { digest } = prepared as { digest: string };
        for (const root of [theirs, ours]) expect(statSync(join(root, "composefs/images", digest)).isFile()).toBe(true);
      }
    },
    60_000,
  );

  async function withUki(variant: Variant, name: string, argument: (id: string) => string): Promise<BootFiles> {
    const root = join(work, `${count++}`);
    const files = (line: string): BootFiles => ({ "usr/x": "x", [`boot/EFI/Linux/${name}`]: uki(line) });
    const { reference } = bootLayout(join(root, "layout"), "t", files("rw"));
    await Repository.init(join(root, "composefs"), { algorithm: variant.algorithm, insecure: true });
    await using repository = await Repository.open(join(root, "composefs"), { write: true, durability: "none" });
    await pull(repository, reference, { tag: "t" });
    const version: FormatVersion = variant.format;
    return files(`rw ${argument(await computeImageId(repository, "t", { bootable: true, version }))} quiet`);
  }

  test.each(VARIANTS)("a UKI: $algorithm, V$format", async (variant) => {
    for (const options of [{}, { entryId: "my-id" }]) {
      const files = await withUki(variant, "u.efi", (digest) =>
        renderComposefsArgument({ version: variant.format, digest, insecure: true }),
      );
      const { peer, prepared, theirs, ours } = await both(files, variant, options);
      expect(peer.stderr).toBe("");
      expect(prepared).toMatchObject({ boots: "uki" });
      expect(below(ours)).toEqual(below(theirs));
    }
  });

  test("both refuse a UKI of another image, one without argument, and arguments for it; a kernel without initramfs", async () => {
    const [variant] = VARIANTS as [Variant];
    const cases: [BootFiles, Options][] = [
      [await withUki(variant, "u.efi", () => `composefs=${"ab".repeat(32)}`), {}],
      [await withUki(variant, "u.efi", () => "quiet"), {}],
      [await withUki(variant, "u.efi", (id) => `composefs=${id}`), { cmdline: ["rw"] }],
      [{ "usr/lib/modules/6/vmlinuz": "K" }, {}],
      [{ "usr/x": "x" }, {}],
    ];
    for (const [files, options] of cases) {
      const { peer, prepared } = await both(files, variant, options);
      expect(peer.status).not.toBe(0);
      expect(prepared).toBeInstanceOf(Error);
    }
  });

  test("fixes: with two formats, the spelling is that of the image; format 0 is like format 1", async () => {
    const algorithm = "sha256";
    const two = await both(KERNEL_ROOT, { algorithm, format: 1, extra: [2] }, {});
    const { digest, argument } = two.prepared as { digest: string; argument: string };
    const entry = "boot/loader/entries/6.1.0.conf";
    expect(readFileSync(join(two.theirs, entry), "utf8")).toContain(`options composefs=?${digest}\n`);
    expect(argument).toBe(`composefs.digest=?v1-sha256-12:${digest}`);
    expect(readFileSync(join(two.ours, entry), "utf8")).toContain(`options ${argument}\n`);
    const zero = await both(KERNEL_ROOT, { algorithm, format: 0 }, {});
    expect(zero.peer.status).not.toBe(0);
    expect((zero.prepared as { argument: string }).argument).toMatch(/^composefs\.digest=\?v1-/);
  });

  // The fixes: what cfsctl does here is wrong, and stays so in 0.9.
  test("fixes: a UKI in a directory, an addon before it, a stale argument of the other spelling", async () => {
    const [variant] = VARIANTS as [Variant];
    const argument = (digest: string) => renderComposefsArgument({ version: 1, digest, insecure: true });
    const nested = await both(await withUki(variant, "s/u.efi", argument), variant, {});
    expect(nested.peer.status).not.toBe(0);
    expect(nested.prepared).toMatchObject({ entry: "EFI/Linux/s/u.efi" });
    const addon = { ...(await withUki(variant, "u.efi", argument)), "boot/EFI/Linux/a.addon.efi": uki("quiet") };
    const skipped = await both(addon, variant, {});
    expect(skipped.peer.status).not.toBe(0);
    expect(skipped.prepared).toMatchObject({ entry: "EFI/Linux/u.efi" });
    const entry = "title T\nversion 1\nlinux /boot/vm/linux\noptions composefs=old rw\n";
    const stale = await both({ ...ENTRY_ROOT, "boot/loader/entries/img.conf": entry }, variant, {});
    expect(readFileSync(join(stale.theirs, "boot/loader/entries/img.conf"), "latin1")).toContain("composefs=old");
    const { argument: written } = stale.prepared as { argument: string };
    expect(readFileSync(join(stale.ours, "boot/loader/entries/img.conf"), "latin1")).toBe(
      entry.replace("composefs=old", written),
    );
  });
});
