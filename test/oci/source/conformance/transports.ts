// Every transport, as something that can present an image. The suite beside this file runs the same tests over each of them.
//
// To add a transport, write one more object of type `Transport` and put it into TRANSPORTS; nothing else is needed:
// - `name` is the title of its tests;
// - `keepsManifest` says whether manifest and layers arrive as they were given, or a manifest is made from config and archives;
// - `present` stores the images below `folder` - the first one with the damage, which `storedParts` has applied already - and gives
//   the reference that a pull takes. All images go under one name when there are several; they differ in their platform.
// What runs meanwhile (a server) ends in `[Symbol.asyncDispose]`.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { TestEngine } from "../../../fixtures/docker-engine.ts";
import type { RegistryOptions } from "../../../../src/oci/registry/requests.ts";
import { TestRegistry } from "../../../fixtures/registry.ts";
import { tar, type TarEntry } from "../../../fixtures/tar.ts";
import { sha256, type Damage, type SampleImage } from "./sample.ts";

/** An image that can be pulled now. */
export interface Presented extends AsyncDisposable {
  readonly reference: string;
  readonly registry?: RegistryOptions;
}

/** A transport under test. */
export interface Transport {
  readonly name: string;
  readonly keepsManifest: boolean;
  present(images: readonly SampleImage[], folder: string, damage?: Damage): Promise<Presented>;
}

/** An image as it is to be stored: undefined is what is missing. */
interface StoredParts {
  readonly image: SampleImage;
  readonly config: Buffer | undefined;
  /** As `blob` or as `tar`, whichever was asked for. */
  readonly layers: readonly (Buffer | undefined)[];
}

function storedParts(images: readonly SampleImage[], form: "blob" | "tar", damage?: Damage): StoredParts[] {
  return images.map((image, n) => {
    const stored = (part: Damage["part"], bytes: Buffer) =>
      n === 0 && damage?.part === part ? damage.change(bytes) : bytes;
    return {
      image,
      config: stored("config", image.config),
      layers: image.layers.map((layer, i) => stored(i, layer[form])),
    };
  });
}

/** All blobs under their true digests. */
function blobsOf(parts: readonly StoredParts[], form: "blob" | "tar" = "blob"): Map<string, Buffer> {
  const blobs = new Map<string, Buffer>();
  for (const { image, config, layers } of parts) {
    blobs.set(sha256(image.manifest), image.manifest);
    if (config !== undefined) blobs.set(sha256(image.config), config);
    for (const [i, bytes] of layers.entries()) {
      if (bytes !== undefined) blobs.set(sha256(image.layers[i]?.[form] ?? bytes), bytes);
    }
  }
  return blobs;
}

function indexOf(images: readonly SampleImage[], annotations?: Record<string, string>): Buffer {
  const manifests = images.map(({ manifest, mediaType, platform }) => ({
    mediaType,
    digest: sha256(manifest),
    size: manifest.length,
    ...(images.length > 1 ? { platform } : {}),
    ...(annotations === undefined ? {} : { annotations }),
  }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
}

const INDEX = "application/vnd.oci.image.index.v1+json";
const TAG = { "org.opencontainers.image.ref.name": "v1" };
const MARKER = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** The files of a layout by their paths. */
function layoutFiles(images: readonly SampleImage[], blobs: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  return new Map([
    ["oci-layout", MARKER],
    ["index.json", indexOf(images, TAG)],
    ...[...blobs].map(([digest, bytes]): [string, Buffer] => [`blobs/${digest.replace(":", "/")}`, bytes]),
  ]);
}

function writeFiles(folder: string, files: ReadonlyMap<string, Buffer>): void {
  for (const [path, bytes] of files) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
}

const still = (reference: string): Presented => ({ reference, async [Symbol.asyncDispose]() {} });

function archive(folder: string, files: ReadonlyMap<string, Buffer> | readonly TarEntry[]): string {
  const path = join(folder, "image.tar");
  const entries = files instanceof Map ? [...files].map(([name, content]) => ({ path: name, content })) : files;
  writeFileSync(path, tar(entries as TarEntry[]));
  return path;
}

const oci: Transport = {
  name: "oci",
  keepsManifest: true,
  async present(images, folder, damage) {
    writeFiles(folder, layoutFiles(images, blobsOf(storedParts(images, "blob", damage))));
    return still(`oci:${folder}:v1`);
  },
};

const ociArchive: Transport = {
  name: "oci-archive",
  keepsManifest: true,
  async present(images, folder, damage) {
    const files = layoutFiles(images, blobsOf(storedParts(images, "blob", damage)));
    return still(`oci-archive:${archive(folder, files)}:v1`);
  },
};

const dir: Transport = {
  name: "dir",
  keepsManifest: true,
  async present(images, folder, damage) {
    const files = new Map<string, Buffer>([["version", Buffer.from("Directory Transport Version: 1.1\n")]]);
    for (const [digest, bytes] of blobsOf(storedParts(images, "blob", damage))) {
      files.set(digest.slice("sha256:".length), bytes);
    }
    for (const { manifest } of images) {
      if (images.length === 1) files.set("manifest.json", manifest);
      else files.set(`${sha256(manifest).slice("sha256:".length)}.manifest.json`, manifest);
    }
    if (images.length > 1) files.set("manifest.json", indexOf(images));
    writeFiles(folder, files);
    return still(`dir:${folder}`);
  },
};

const docker: Transport = {
  name: "docker",
  keepsManifest: true,
  async present(images, _, damage) {
    const registry = await TestRegistry.start();
    for (const [digest, bytes] of blobsOf(storedParts(images, "blob", damage))) registry.blobs.set(digest, bytes);
    const [first] = images;
    const single = images.length === 1 && first !== undefined;
    registry.manifests.set("v1", {
      bytes: single ? first.manifest : indexOf(images),
      type: single ? first.mediaType : INDEX,
    });
    for (const { manifest, mediaType } of images) {
      registry.manifests.set(sha256(manifest), { bytes: manifest, type: mediaType });
    }
    return {
      reference: `docker://${registry.host}/project/os:v1`,
      registry: { tlsVerify: false, retryUnit: 1, timeouts: { head: 2000, idle: 1000 } },
      [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
    };
  },
};

const hex = (digest: string) => digest.slice("sha256:".length);

/** What `docker save` wrote before version 25: a folder per layer, an equal layer as a link to the first. */
export function oldDockerSave(images: readonly SampleImage[], damage?: Damage): TarEntry[] {
  const entries: TarEntry[] = [];
  const tops: string[] = [];
  const list = storedParts(images, "tar", damage).map(({ image, config, layers }, n) => {
    const configName = `${hex(sha256(image.config))}.json`;
    if (config !== undefined) entries.push({ path: configName, content: config });
    const paths = layers.map((bytes, i) => {
      const id = hex(sha256(Buffer.from(`${n} ${i} ${sha256(image.layers[i]?.tar ?? image.config)}`)));
      const same = image.layers.findIndex(({ tar: other }) => other.equals(image.layers[i]?.tar ?? other));
      entries.push({ path: id, type: "directory" });
      entries.push({ path: `${id}/VERSION`, content: Buffer.from("1.0") });
      entries.push({ path: `${id}/json`, content: Buffer.from(JSON.stringify({ id })) });
      const path = `${id}/layer.tar`;
      if (same < i) entries.push({ path, type: "symlink", target: `../${tops[same]}/layer.tar` });
      else if (bytes !== undefined) entries.push({ path, content: bytes });
      tops[i] = id;
      return path;
    });
    return { Config: configName, RepoTags: ["project/os:v1"], Layers: paths };
  });
  entries.push({ path: "manifest.json", content: Buffer.from(JSON.stringify(list)) });
  const repositories = { "project/os": { v1: tops.at(-1) ?? "" } };
  entries.push({ path: "repositories", content: Buffer.from(JSON.stringify(repositories)) });
  return entries;
}

/** What `docker save` writes from version 25 on: a layout with a manifest.json beside it. The containerd store keeps layers packed. */
export function newDockerSave(images: readonly SampleImage[], form: "blob" | "tar", damage?: Damage): TarEntry[] {
  const parts = storedParts(images, form, damage);
  const path = (digest: string) => `blobs/sha256/${hex(digest)}`;
  const list = images.map((image) => ({
    Config: path(sha256(image.config)),
    RepoTags: ["project/os:v1"],
    Layers: image.layers.map((layer) => path(sha256(layer[form]))),
    LayerSources: Object.fromEntries(
      image.layers.map(({ tar: bytes, mediaType }) => [
        sha256(bytes),
        { mediaType, size: bytes.length, digest: sha256(bytes) },
      ]),
    ),
  }));
  const entries: TarEntry[] = [
    { path: "blobs", type: "directory" },
    { path: "blobs/sha256", type: "directory" },
  ];
  for (const [digest, content] of blobsOf(parts, form)) entries.push({ path: path(digest), content });
  entries.push({ path: "index.json", content: indexOf(images, TAG) });
  entries.push({ path: "manifest.json", content: Buffer.from(JSON.stringify(list)) });
  entries.push({ path: "oci-layout", content: MARKER });
  entries.push({ path: "repositories", content: Buffer.from('{"project/os":{"v1":""}}') });
  return entries;
}

/** What `skopeo copy ... docker-archive:` and `podman save` write: layers by diff_id, and the old folders as links to them. */
function podmanSave(images: readonly SampleImage[], damage?: Damage): TarEntry[] {
  const entries: TarEntry[] = [];
  const known = new Set<string>();
  const list = storedParts(images, "tar", damage).map(({ image, config, layers }, n) => {
    const paths = layers.map((bytes, i) => {
      const path = `${hex(sha256(image.layers[i]?.tar ?? image.config))}.tar`;
      if (bytes !== undefined && !known.has(path)) entries.push({ path, content: bytes });
      known.add(path);
      entries.push({ path: `${n}${i}`, type: "directory" });
      entries.push({ path: `${n}${i}/VERSION`, content: Buffer.from("1.0") });
      entries.push({ path: `${n}${i}/layer.tar`, type: "symlink", target: `../${path}` });
      entries.push({ path: `${n}${i}/json`, content: Buffer.from("{}") });
      return path;
    });
    const configName = `${hex(sha256(image.config))}.json`;
    if (config !== undefined) entries.push({ path: configName, content: config });
    return { Config: configName, RepoTags: ["docker.io/project/os:v1"], Layers: paths };
  });
  entries.push({ path: "repositories", content: Buffer.from("{}") });
  entries.push({ path: "manifest.json", content: Buffer.from(JSON.stringify(list)) });
  return entries;
}

function dockerArchive(
  title: string,
  entries: (images: readonly SampleImage[], damage?: Damage) => TarEntry[],
): Transport {
  return {
    name: `docker-archive (${title})`,
    keepsManifest: false,
    async present(images, folder, damage) {
      return still(`docker-archive:${archive(folder, entries(images, damage))}:project/os:v1`);
    },
  };
}

function dockerDaemon(
  title: string,
  isLocal: boolean,
  entries: (images: readonly SampleImage[], damage?: Damage) => TarEntry[],
): Transport {
  return {
    name: `docker-daemon (${title})`,
    keepsManifest: false,
    async present(images, folder, damage) {
      const socket = isLocal ? join(folder, "engine.sock") : undefined;
      const engine = await TestEngine.start(tar(entries(images, damage)), ["project/os:v1"], socket);
      const saved = process.env["DOCKER_HOST"];
      process.env["DOCKER_HOST"] = engine.address;
      return {
        reference: "docker-daemon:project/os:v1",
        async [Symbol.asyncDispose]() {
          if (saved === undefined) delete process.env["DOCKER_HOST"];
          else process.env["DOCKER_HOST"] = saved;
          await engine[Symbol.asyncDispose]();
        },
      };
    },
  };
}

/** All of them. */
export const TRANSPORTS: readonly Transport[] = [
  oci,
  ociArchive,
  dir,
  docker,
  dockerArchive("docker 20", oldDockerSave),
  dockerArchive("docker 25", (images, damage) => newDockerSave(images, "tar", damage)),
  dockerArchive("docker 25 with containerd", (images, damage) => newDockerSave(images, "blob", damage)),
  dockerArchive("podman", podmanSave),
  dockerDaemon("socket", true, oldDockerSave),
  dockerDaemon("TCP, containerd", false, (images, damage) => newDockerSave(images, "blob", damage)),
];
