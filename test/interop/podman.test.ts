// What podman writes and serves of the recorded images: archives in both of its forms, and the API of the Docker engine, which it
// speaks too. The same image comes out of each of them.

import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, it } from "vitest";

import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "../oci/golden-layouts.ts";
import { describeWithPeers, peer, peerOutput, runPeer } from "../peer.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
const containers = goldenImages.filter(({ is_container }) => is_container);

describeWithPeers(["podman"], "podman", () => {
  let work: string;
  let store: string[];
  let service: ChildProcess;
  let repository: Repository;
  const seen = new Map<string, number>();
  const savedHost = process.env["DOCKER_HOST"];

  beforeAll(async () => {
    // It makes the image's name of the path, which must be lower case for that.
    work = join(tmpdir(), `composefs-podman-${randomBytes(6).toString("hex")}`);
    mkdirSync(work);
    store = ["--root", join(work, "root"), "--runroot", join(work, "run"), "--storage-driver", "vfs"];
    store.push("--cgroup-manager", "cgroupfs");
    const socket = join(work, "engine.sock");
    service = spawn(peer("podman"), [...store, "system", "service", "--time=0", `unix://${socket}`], {
      stdio: "ignore",
    });
    for (let tries = 0; tries < 100 && !existsSync(socket); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    process.env["DOCKER_HOST"] = `unix://${socket}`;
    await Repository.init(join(work, "repository"), { algorithm: "sha256", insecure: true });
    repository = await Repository.open(join(work, "repository"), { write: true, durability: "none" });
  });
  afterAll(async () => {
    service?.kill();
    await repository?.[Symbol.asyncDispose]();
    if (savedHost === undefined) delete process.env["DOCKER_HOST"];
    else process.env["DOCKER_HOST"] = savedHost;
    rmSync(work, { recursive: true, force: true });
  });

  it.each(containers.map((image) => ({ name: image.name, image })))("$name", async ({ image }) => {
    const folder = join(work, image.name);
    mkdirSync(folder);
    const layout = unpackLayout(image.layout, folder);
    const { status, stdout, stderr } = runPeer("podman", [...store, "pull", "-q", `oci:${layout}:${image.tag}`]);
    if (status !== 0) {
      // Its reader of layouts takes neither Docker's manifests nor another platform's image, its store not every header of tar.
      expect(stderr).toMatch(/no descriptor found for reference|applying layer|processing tar file|no image found/i);
      return;
    }
    const id = stdout.trim().split("\n").at(-1) ?? "";
    // It takes the first entry of a tag, whatever its platform: of 09 that is another image.
    if (`sha256:${id}` !== image.config_digest) return expect(image.name).toBe("09-multiarch-flat");
    // A store keeps no bytes of a layer, but how to make them again: where that went wrong, the digests say so.
    const name = `h.example/golden/${image.name}:v1`;
    peerOutput("podman", [...store, "tag", id, name]);
    // Docker's forms know no zstd.
    const isDocker = image.layers.every(({ mediaType }) => !mediaType.endsWith("zstd"));
    const probe = runPeer("podman", [...store, "save", "-q", "--format", "oci-dir", "-o", join(folder, "probe"), name]);
    // Of layers with whiteouts for its own files this store can make the bytes no more.
    if (probe.status !== 0) return expect(probe.stderr).toMatch(/reading blob .* no such file or directory/);
    const references = isDocker ? [`docker-daemon:${name}`, `docker-daemon:sha256:${id}`] : [];
    for (const format of isDocker ? ["docker-archive", "oci-archive"] : ["oci-archive"]) {
      const path = join(folder, `${format}.tar`);
      peerOutput("podman", [...store, "save", "-q", "--format", format, "-o", path, name]);
      references.push(`${format}:${path}`);
    }
    for (const reference of references) {
      const result = await pull(repository, reference, { tag: reference, platform });
      expect(result.images[0]?.id, reference).toBe(image.image_ids?.sha256["v1"]);
      const transport = reference.slice(0, reference.indexOf(":"));
      seen.set(transport, (seen.get(transport) ?? 0) + 1);
    }
    return undefined;
  });

  it("was several of them, in every form", () => {
    for (const transport of ["docker-daemon", "docker-archive", "oci-archive"]) {
      expect(seen.get(transport), transport).toBeGreaterThan(3);
    }
  });

  it("has no image that it has not", async () => {
    const missing = pull(repository, "docker-daemon:h.example/none:v1", { tag: "t", platform });
    await expect(missing).rejects.toMatchObject({ code: "not-found" });
  });
});
