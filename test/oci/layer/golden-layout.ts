// The golden image layouts in memory: index, blobs, and the layers of each image with what was recorded of them.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TarReader } from "../../../src/oci/tar.ts";
import { goldensDir } from "../../goldens-dir.ts";

const GOLDENS = goldensDir("oci");

/** A chunk of a recorded stream. */
export type GoldenChunk = { inline: number; sha256: string } | { object: string; size: number };

/** A recorded stream. */
export interface GoldenStream {
  content_type: string;
  size: number;
  object_refs: string[];
  chunks: GoldenChunk[];
}

/** One layer of a golden image. */
export interface GoldenLayer {
  name: string;
  blob: { digest: string; size: number; mediaType: string };
  diffId: string;
  /** The blob as it is stored, which for malformed layouts is not what `blob` says. */
  bytes: Buffer;
}

/** An entry of `index.json`. */
export interface GoldenImage {
  name: string;
  layout?: string;
  tag?: string;
  is_container?: boolean;
  manifest_digest?: string;
  must?: string;
}

/** The recorded facts of all images. */
export const INDEX = JSON.parse(readFileSync(join(GOLDENS, "index.json"), "utf8")) as {
  images: GoldenImage[];
  malformed: GoldenImage[];
};

function unpack(file: string): Map<string, Buffer> {
  const files = new Map<string, Buffer[]>();
  let current: Buffer[] = [];
  const reader = new TarReader(file, {
    entry: ({ path, type }, content) => {
      current = content === undefined ? [] : [Buffer.from(content)];
      if (type === "file") files.set(path.replace(/^\.\//, ""), current);
    },
    content: (bytes) => current.push(Buffer.from(bytes)),
  });
  reader.push(readFileSync(join(GOLDENS, file)));
  reader.finish();
  return new Map([...files].map(([path, parts]) => [path, Buffer.concat(parts)]));
}

/** The layers of an image. The manifest is the recorded one, else the first of the layout's index. */
export function goldenLayers(image: GoldenImage): GoldenLayer[] {
  const files = unpack(image.layout ?? `${image.name}.tar`);
  const blob = (digest: string) => {
    const bytes = files.get(`blobs/${digest.replace(":", "/")}`);
    if (bytes === undefined) throw new Error(`${image.name}: no blob ${digest}`);
    return bytes;
  };
  const json = (bytes: Buffer | undefined) => JSON.parse((bytes ?? Buffer.alloc(0)).toString("utf8"));
  const first = json(files.get("index.json")).manifests[0].digest as string;
  const known = image.manifest_digest;
  const manifest = json(blob(known !== undefined && files.has(`blobs/${known.replace(":", "/")}`) ? known : first));
  const diffIds = json(blob(manifest.config.digest)).rootfs.diff_ids as string[];
  return (manifest.layers as GoldenLayer["blob"][]).map((descriptor, i) => ({
    name: `layer ${i + 1} of ${image.name}`,
    blob: descriptor,
    diffId: diffIds[i] as string,
    bytes: blob(descriptor.digest),
  }));
}

/** The recorded streams of an image by name; none where the reference could not import it. */
export function goldenStreams(name: string): Map<string, GoldenStream> {
  return new Map(Object.entries((recorded(name, "streams.sha256.json") ?? {}) as Record<string, GoldenStream>));
}

function recorded(name: string, file: string): unknown {
  const path = join(GOLDENS, name, file);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/** What `oci layer --json` printed for each distinct layer. */
export interface GoldenLayerInfo {
  diffId: string;
  size: number;
  entryCount: number;
  splitstream: { externalObjects: number; externalSize: number; inlineSize: number };
}

/** The recorded layer facts of an image; none where the reference could not import it. */
export function goldenLayerInfos(name: string): GoldenLayerInfo[] {
  return (recorded(name, "layers.json") ?? []) as GoldenLayerInfo[];
}
