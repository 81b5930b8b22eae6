// Sealed images and the peers (docs/spec/boot.md, section 2; oci.md, sections 11 and 14): cfsctl pulls them, finds the digest of their
// UKI, and takes the UKI for what boots them; skopeo copies them; sbverify verifies what was signed.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource, PeFile } from "../../src/boot/pe/read.ts";
import { inspectUki } from "../../src/boot/uki/inspect.ts";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { SealOptions, SealResult } from "../../src/seal/options.ts";
import { sealImage } from "../../src/seal/seal.ts";
import { KERNEL_VERSION, sealableEntries, sealableLayout } from "../fixtures/sealable.ts";
import { makeSigningKey, STUB_REMEDY, systemdStub } from "../fixtures/systemd-stub.ts";
import type { TarEntry } from "../fixtures/tar.ts";
import { describeWithPeers, peer, peerOutput, skipOrFail } from "../peer.ts";

/** A policy, so that the boot image has labels that the layers lack. */
const POLICY: TarEntry[] = [
  ...["etc/selinux", "etc/selinux/test", "etc/selinux/test/contexts", "etc/selinux/test/contexts/files"].map(
    (path): TarEntry => ({ path, type: "directory", mtime: "1700000003.123456789" }),
  ),
  { path: "etc/selinux/config", content: Buffer.from("SELINUXTYPE=test\n") },
  {
    path: "etc/selinux/test/contexts/files/file_contexts",
    content: Buffer.from(
      "/.* system_u:object_r:default_t:s0\n/boot(/.*)? system_u:object_r:boot_t:s0\n/usr/bin/.* -- x_t\n",
    ),
  },
];

const UKI = `boot/EFI/Linux/${KERNEL_VERSION}.efi`;

if (STUB_REMEDY !== undefined) describe("sealed images", () => skipOrFail(STUB_REMEDY as string));
else {
  const work = mkdtempSync(join(tmpdir(), "composefs-seal-interop-"));
  afterAll(() => rmSync(work, { recursive: true }));
  let number = 0;
  const place = () => join(work, String(number++));
  const options: SealOptions = {
    platform: { os: "linux", architecture: "amd64" },
    temporaryDirectory: work,
    stub: systemdStub().name,
  };

  /** Seals an image with a policy into a layout. */
  async function sealed(more: SealOptions = {}): Promise<{ reference: string; directory: string; result: SealResult }> {
    const { reference } = sealableLayout(place(), { more: POLICY });
    const directory = place();
    const result = await sealImage(
      { kind: "reference", reference },
      { kind: "layout", directory, tag: "s" },
      { ...options, ...more },
    );
    return { reference: `oci:${directory}:s`, directory, result };
  }

  function cfsctlRepository(algorithm: Algorithm, version: number): string {
    // It keeps the state of deployments beside the repository.
    const folder = place();
    mkdirSync(folder);
    const path = join(folder, "repository");
    peerOutput("cfsctl", [
      "--erofs-version",
      String(version),
      "init",
      "--insecure",
      "--algorithm",
      `fsverity-${algorithm}-12`,
      path,
    ]);
    return path;
  }

  const cfsctl = (repository: string, ...args: string[]) =>
    peerOutput("cfsctl", ["--insecure", "--repo", repository, ...args]);

  describeWithPeers(["cfsctl"], "sealed images and cfsctl", () => {
    it.each<[Algorithm, 1 | 2]>([
      ["sha512", 2],
      ["sha512", 1],
      ["sha256", 2],
      ["sha256", 1],
    ])("pulls them, %s and format V%i: the digest is that of the UKI", async (algorithm, version) => {
      const { reference, result } = await sealed({ algorithm, version });
      const repository = cfsctlRepository(algorithm, version);
      expect(cfsctl(repository, "oci", "pull", reference, "s", "--bootable")).toContain(
        `Boot image: ${result.bootId}\n`,
      );
      const { composefs_erofs, composefs_boot_erofs } = JSON.parse(cfsctl(repository, "oci", "inspect", "s")) as Record<
        string,
        string
      >;
      expect(composefs_boot_erofs).toBe(result.bootId);
      expect(composefs_erofs).toBe(result.imageId);
      // The label is one that its check accepts.
      expect(cfsctl(repository, "oci", "fsck")).toContain("oci images: 1/1 ok");
    });

    it("takes the UKI for what boots the image, and finds the right digest in it", async () => {
      const { reference, result, directory } = await sealed();
      const repository = cfsctlRepository("sha512", 2);
      cfsctl(repository, "oci", "pull", reference, "s", "--bootable");
      const bootDirectory = place();
      mkdirSync(bootDirectory);
      cfsctl(repository, "oci", "prepare-boot", "s", "--bootdir", bootDirectory);
      const written = readFileSync(join(bootDirectory, "EFI/Linux", `${KERNEL_VERSION}.efi`));
      expect(written.length).toBe(result.ukiSize);
      const uki = PeFile.read(bytesSource(written), "written");
      const { composefs, label } = await inspectUki(uki, bytesSource(written));
      expect({ digest: composefs[0]?.digest, label }).toEqual({ digest: result.bootId, label: "Test OS 3" });
      expect(readdirSync(directory)).toContain("index.json");
    });

    it("reads what was sealed within a repository", async () => {
      const { reference } = sealableLayout(place(), { more: POLICY });
      const path = cfsctlRepository("sha512", 2);
      cfsctl(path, "oci", "pull", reference, "base");
      let bootId: string;
      {
        await using repository = await Repository.open(path, { write: true });
        const source = { kind: "stored", repository, name: "base" } as const;
        ({ bootId } = await sealImage(source, { kind: "tag", repository, name: "sealed" }, options));
      }
      const inspected = JSON.parse(cfsctl(path, "oci", "inspect", "sealed")) as Record<string, string>;
      expect(inspected["composefs_boot_erofs"]).toBe(bootId);
      expect(cfsctl(path, "oci", "compute-id", "sealed", "--bootable").trim()).toBe(bootId);
      expect(cfsctl(path, "oci", "fsck")).toContain("oci images: 2/2 ok");
    });

    it("computes the same digest of the directory that was sealed", async () => {
      const root = place();
      for (const { path, type = "file", content, target } of [...sealableEntries(), ...POLICY]) {
        if (type === "directory") mkdirSync(join(root, path), { recursive: true });
        else if (type === "file") writeFileSync(join(root, path), content ?? "");
        else expect(target).toBeDefined();
      }
      const directory = place();
      const { bootId } = await sealImage(
        { kind: "directory", path: root },
        { kind: "layout", directory, tag: "s" },
        options,
      );
      const computed = peerOutput("cfsctl", [
        "--no-repo",
        "--hash",
        "sha512",
        "--erofs-version",
        "2",
        "compute-id",
        "--bootable",
        root,
      ]);
      expect(computed.trim()).toBe(bootId);
      const repository = cfsctlRepository("sha512", 2);
      expect(cfsctl(repository, "oci", "pull", `oci:${directory}:s`, "s", "--bootable")).toContain(
        `Boot image: ${bootId}\n`,
      );
    });
  });

  describeWithPeers(["skopeo"], "sealed images and skopeo", () => {
    it("are inspected and copied, digest by digest", async () => {
      const { reference, result } = await sealed();
      const { Digest, Labels, Layers } = JSON.parse(peerOutput("skopeo", ["inspect", reference])) as {
        Digest: string;
        Labels: Record<string, string>;
        Layers: string[];
      };
      expect(Digest).toBe(result.manifestDigest);
      expect(Labels["containers.composefs.fsverity"]).toBe(result.imageId);
      expect(Layers.length).toBe(3);
      const copy = place();
      peerOutput("skopeo", ["--insecure-policy", "copy", "--preserve-digests", reference, `oci:${copy}:s`]);
      const index = JSON.parse(readFileSync(join(copy, "index.json"), "utf8")) as { manifests: { digest: string }[] };
      expect(index.manifests.map(({ digest }) => digest)).toEqual([result.manifestDigest]);
    });

    it("can be written into a layout that skopeo made, beside its image", async () => {
      const { reference } = sealableLayout(place(), { more: POLICY });
      const directory = place();
      peerOutput("skopeo", ["--insecure-policy", "copy", reference, `oci:${directory}:base`]);
      const before = place();
      cpSync(directory, before, { recursive: true });
      await sealImage(
        { kind: "reference", reference: `oci:${directory}:base` },
        { kind: "layout", directory, tag: "s" },
        options,
      );
      for (const tag of ["base", "s"]) peerOutput("skopeo", ["inspect", `oci:${directory}:${tag}`]);
      expect(peerOutput("skopeo", ["inspect", `oci:${directory}:base`])).toBe(
        peerOutput("skopeo", ["inspect", `oci:${before}:base`]),
      );
    });
  });

  describeWithPeers(["sbsign", "sbverify", "openssl"], "sealed images and sbsigntool", () => {
    it("are signed by --sign, and verify", async () => {
      const { key, certificate } = makeSigningKey(work, "seal");
      const sign = { text: `${peer("sbsign")} --key ${key} --cert '${certificate}' --output {out} {in}`, shell: false };
      const { directory, result } = await sealed({ sign });
      expect(result.signed).toBe(true);
      const index = JSON.parse(readFileSync(join(directory, "index.json"), "utf8")) as {
        manifests: { digest: string }[];
      };
      const read = (digest = "") => readFileSync(join(directory, "blobs/sha256", digest.slice(7)));
      const manifest = JSON.parse(read(index.manifests[0]?.digest).toString()) as { layers: { digest: string }[] };
      const layer = join(work, "layer.tar");
      writeFileSync(layer, read(manifest.layers.at(-1)?.digest));
      const out = place();
      mkdirSync(out);
      peerOutput("tar", ["-xf", layer, "-C", out]);
      expect(peerOutput("sbverify", ["--cert", certificate, join(out, UKI)])).toContain("verification OK");
    });

    it("a key that is missing is said to be, and nothing is written", async () => {
      const directory = place();
      const { reference } = sealableLayout(place());
      const sign = {
        text: `${peer("sbsign")} --key /dev/null/missing --cert /dev/null/missing --output {out} {in}`,
        shell: false,
      };
      await expect(
        sealImage({ kind: "reference", reference }, { kind: "layout", directory, tag: "s" }, { ...options, sign }),
      ).rejects.toThrow("/dev/null/missing");
      expect(readdirSync(work)).not.toContain(directory.slice(work.length + 1));
    });
  });
}
