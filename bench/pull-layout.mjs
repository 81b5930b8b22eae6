// Makes the layout of the pull benchmark: 500 MB in 27 000 objects and five layers, the same bytes on every machine.
// Sizes are log-normal like those of a distribution's files, contents compress about as well as they do.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const FILES = 27_000;
const BYTES = 500e6;
// Shares of the files, as a base image and what is built on it have.
const LAYERS = [0.5, 0.2, 0.15, 0.1, 0.05];
const POOL = 16 << 20;

/** The compressions that there are layouts for. */
export const COMPRESSIONS = ["gzip", "none", "zstd"];

const MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar";

/** mulberry32: small, fast, the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Words with stretches of noise between them: deflates to about 40 %. */
function contentPool(next) {
  const words = Array.from({ length: 1500 }, () =>
    Array.from({ length: 2 + Math.floor(next() * 9) }, () => String.fromCharCode(97 + Math.floor(next() * 26))).join(
      "",
    ),
  );
  const pool = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; ) {
    if (next() < 0.02) {
      const end = Math.min(POOL, at + 32 + Math.floor(next() * 200));
      while (at < end) pool[at++] = Math.floor(next() * 256);
    } else {
      // Small words are frequent, as in text.
      at += pool.write(`${words[Math.floor(next() ** 5 * words.length)]} `, at, "latin1") || POOL - at;
    }
  }
  return pool;
}

function sizes(next) {
  const raw = Array.from({ length: FILES }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    return Math.exp(Math.log(3000) + 1.75 * normal);
  });
  const scale = BYTES / raw.reduce((sum, size) => sum + size, 0);
  return raw.map((size) => Math.max(100, Math.round(size * scale)));
}

/** The 512 bytes before an entry of an archive. */
export function header(name, type, size, mode) {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100, "latin1");
  block.write(`${mode.toString(8).padStart(7, "0")}\0`, 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write(`${(1700000000).toString(8)}\0`, 136);
  block.write("        ", 148);
  block.write(type, 156);
  block.write("ustar\x0000", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function layerTar(files, layer, pool, next) {
  const parts = [];
  const directory = (path) => parts.push(header(`${path}/`, "5", 0, 0o755));
  if (layer === 0) directory("usr");
  const top = `usr/layer${layer}`;
  directory(top);
  files.forEach((size, i) => {
    if (i % 40 === 0) directory(`${top}/d${Math.floor(i / 40)}`);
    parts.push(header(`${top}/d${Math.floor(i / 40)}/file-${i}`, "0", size, 0o644));
    const content = Buffer.alloc(Math.ceil(size / 512) * 512);
    for (let at = 0; at < size; ) {
      const from = Math.floor(next() * (POOL - 65536));
      at += pool.copy(content, at, from, from + Math.min(size - at, 65536));
    }
    content.write(`${layer}.${i}.`, 0, "latin1");
    parts.push(content);
  });
  parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

async function compressor(compression) {
  if (compression === "none") return (bytes) => bytes;
  if (compression === "gzip") return (bytes) => gzipSync(bytes, { level: 6 });
  const { zstdCompress } = await import("../dist/runtime/zstd.js");
  return (bytes) => {
    const encoder = zstdCompress(3);
    const out = [];
    for (let at = 0; at < bytes.length; at += 1 << 20) out.push(...encoder.write(bytes.subarray(at, at + (1 << 20))));
    return Buffer.concat([...out, ...encoder.end()]);
  };
}

/**
 * The layout's folder, made if it is not there yet (half a minute). The tag is `bench`.
 *
 * @param compression one of {@link COMPRESSIONS}
 * @param top an uncompressed layer on top of the others, and what the folder is called with it
 */
export async function pullLayout(compression, top) {
  const cache = process.env.COMPOSEFS_BENCH_CACHE ?? join(tmpdir(), "composefs-bench");
  const folder = join(cache, `pull-1-${compression}${top === undefined ? "" : `-${top.name}`}`);
  if (existsSync(join(folder, "index.json"))) return folder;
  const next = random(20);
  const pool = contentPool(next);
  const all = sizes(next);
  const compress = await compressor(compression);
  const layers = [];
  let from = 0;
  for (const [number, share] of LAYERS.entries()) {
    const to = number === LAYERS.length - 1 ? FILES : from + Math.round(FILES * share);
    const tar = layerTar(all.slice(from, to), number, pool, next);
    from = to;
    const mediaType = compression === "none" ? MEDIA_TYPE : `${MEDIA_TYPE}+${compression}`;
    layers.push({ diffId: sha256(tar), blob: compress(tar), mediaType });
  }
  if (top !== undefined) layers.push({ diffId: sha256(top.tar), blob: top.tar, mediaType: MEDIA_TYPE });
  writeLayout(folder, [{ tag: "bench", layers }]);
  return folder;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/**
 * Writes an OCI layout: the whole folder, or nothing when it is interrupted.
 *
 * @param images each a tag and its layers: `diffId` (hex), `blob`, `mediaType`
 */
export function writeLayout(folder, images) {
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(join(unfinished, "blobs", "sha256"), { recursive: true });
  const json = (value) => Buffer.from(JSON.stringify(value));
  const store = (bytes, mediaType) => {
    const hex = sha256(bytes);
    writeFileSync(join(unfinished, "blobs", "sha256", hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const manifests = images.map(({ tag, layers }) => {
    const config = {
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => `sha256:${diffId}`) },
    };
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = {
      schemaVersion: 2,
      mediaType,
      config: store(json(config), "application/vnd.oci.image.config.v1+json"),
      layers: layers.map(({ blob, mediaType: type }) => store(blob, type)),
    };
    return { ...store(json(manifest), mediaType), annotations: { "org.opencontainers.image.ref.name": tag } };
  });
  writeFileSync(join(unfinished, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(unfinished, "index.json"), json({ schemaVersion: 2, manifests }));
  rmSync(folder, { recursive: true, force: true });
  renameSync(unfinished, folder);
}
