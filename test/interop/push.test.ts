// Pushes to a real registry: skopeo reads what we push, and so do we; with the compressed layers kept, manifests keep their digests;
// cfsctl finds nothing wrong with a repository that keeps them.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, it } from "vitest";

import { exportImage } from "../../src/oci/export.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "../oci/golden-layouts.ts";
import { randomBytes, seededRandom } from "../fixtures/random.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar } from "../fixtures/tar.ts";
import { describeWithPeers, peer, peerOutput, runPeer } from "../peer.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
const containers = goldenImages.filter(({ is_container }) => is_container);
const registryOptions = { tlsVerify: false };

let work: string;
let server: ChildProcess;
let host: string;

async function newRepository(name: string): Promise<Repository> {
  const path = join(work, `repository-${name}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

describeWithPeers(["skopeo", "docker-registry"], "what is pushed to a registry", () => {
  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), "composefs-real-push-"));
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
    host = `127.0.0.1:${(probe.address() as AddressInfo).port}`;
    await new Promise((resolve) => probe.close(resolve));
    const lines = [
      "version: 0.1",
      "storage:",
      `  filesystem: {rootdirectory: ${work}/data}`,
      "http:",
      `  addr: ${host}`,
    ];
    writeFileSync(join(work, "config.yml"), `${lines.join("\n")}\n`);
    let log = "";
    server = spawn(peer("docker-registry"), ["serve", join(work, "config.yml")]);
    for (const stream of [server.stdout, server.stderr]) stream?.on("data", (text) => (log += String(text)));
    for (let tries = 0; tries < 100 && !log.includes("listening on"); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  afterAll(() => {
    server?.kill();
    rmSync(work, { recursive: true, force: true });
  });

  it.each(containers.map((image) => ({ name: image.name, image })))("$name", async ({ image }) => {
    const layout = unpackLayout(image.layout, join(work, image.name));
    const id = image.image_ids?.sha256["v1"];
    for (const keepCompressed of [true, false]) {
      const label = `${image.name}-${keepCompressed ? "kept" : "made"}`;
      await using repository = await newRepository(label);
      await pull(repository, `oci:${layout}:${image.tag}`, { tag: "os", platform, keepCompressed });
      const reference = `docker://${host}/golden/${label}:v1`;
      const pushed = await exportImage(repository, "os", reference, { registry: registryOptions });
      expect(pushed.manifest === image.manifest_digest).toBe(pushed.isOriginal);
      if (keepCompressed) expect(pushed.isOriginal).toBe(true);

      await using direct = await newRepository(`${label}-direct`);
      const ours = await pull(direct, reference, { tag: "os", platform, registry: registryOptions });
      expect(ours.manifestDigest).toBe(pushed.manifest);
      expect(ours.images[0]?.id).toBe(id);

      const copied = join(work, `${label}.dir`);
      const words = ["--insecure-policy", "--override-arch=amd64", "--override-os=linux", "copy", "--quiet"];
      peerOutput("skopeo", [...words, "--src-tls-verify=false", "--preserve-digests", reference, `dir:${copied}`]);
      await using through = await newRepository(`${label}-skopeo`);
      const theirs = await pull(through, `dir:${copied}`, { tag: "os", platform });
      expect(theirs.manifestDigest).toBe(pushed.manifest);
      expect(theirs.images[0]?.id).toBe(id);
    }
  });

  it("may be large, and is not sent twice", async () => {
    const content = randomBytes(seededRandom(11), 20 << 20);
    const archive = tar([
      { path: "usr", type: "directory" },
      { path: "usr/large", content },
    ]);
    const { reference, manifestDigest } = writeLayout(join(work, "large"), "v1", [
      { tar: archive, compression: "gzip" },
    ]);
    await using repository = await newRepository("large");
    await pull(repository, reference, { tag: "os", keepCompressed: true });
    const sent: string[] = [];
    for (const tag of ["v1", "v2"]) {
      const { manifest } = await exportImage(repository, "os", `docker://${host}/large/os:${tag}`, {
        registry: registryOptions,
        onProgress: (event) => {
          if (event.type === "start" && event.kind === "copy") sent.push(`${tag} ${event.id}`);
        },
      });
      expect(manifest).toBe(manifestDigest);
    }
    expect(sent.filter((line) => line.startsWith("v1"))).toHaveLength(2);
    expect(sent.filter((line) => line.startsWith("v2"))).toEqual([]);
  });
});

describeWithPeers(["cfsctl"], "a repository that keeps compressed layers", () => {
  it.each(containers.map((image) => ({ name: image.name, image })))(
    "of $name is sound for cfsctl",
    async ({ image }) => {
      const own = mkdtempSync(join(tmpdir(), "composefs-kept-"));
      try {
        const path = join(own, "repository");
        const layout = unpackLayout(image.layout, own);
        const control = join(own, "control");
        for (const [where, keepCompressed] of [
          [path, true],
          [control, false],
        ] as const) {
          await Repository.init(where, { algorithm: "sha256", insecure: true });
          await using repository = await Repository.open(where, { write: true, durability: "none" });
          await pull(repository, `oci:${layout}:${image.tag}`, { tag: "os", platform, keepCompressed });
        }
        const streams = () => readdirSync(join(path, "streams")).toSorted();
        const before = streams();
        // What it says of the image without them, it says of the image with them: a seal of another algorithm is missing, for example.
        const said = (where: string, words: string[]) => {
          const { status, stdout } = runPeer("cfsctl", ["--repo", where, ...words]);
          return { status, stdout: stdout.replace(/\b(\d+)\/\1 ok/g, "ok") };
        };
        for (const words of [
          ["fsck"],
          ["oci", "fsck"],
          ["gc"],
          ["fsck"],
          ["oci", "images"],
          ["oci", "inspect", "os"],
        ]) {
          expect(said(path, words), words.join(" ")).toEqual(said(control, words));
        }
        expect(streams()).toEqual(before);
        {
          await using repository = await Repository.open(path);
          const { manifest } = await exportImage(repository, "os", `oci:${own}/out:v1`);
          expect(manifest).toBe(image.manifest_digest);
        }
        // Without the tag they go with the image.
        peerOutput("cfsctl", ["--repo", path, "oci", "untag", "os"]);
        peerOutput("cfsctl", ["--repo", path, "gc"]);
        expect(streams().filter((name) => name.startsWith("oci-"))).toEqual([]);
      } finally {
        rmSync(own, { recursive: true, force: true });
      }
    },
  );
});
