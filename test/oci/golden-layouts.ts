// The recorded layouts, unpacked, and what was recorded with them (test/goldens/oci/README.md).

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { TarReader } from "../../src/oci/tar.ts";

/** One entry of `images` in the index. */
export interface GoldenImage {
  name: string;
  layout: string;
  tag: string;
  manifest_digest: string;
  config_digest: string;
  source_manifest_digest?: string;
  is_container: boolean;
  layers: { mediaType: string; digest: string; size: number }[];
  diff_ids?: string[];
  streams: string[];
  refs: Record<string, string>;
  image_ids?: Record<"sha256" | "sha512", Record<string, string>>;
}

/** One entry of `malformed` in the index. */
export interface MalformedImage {
  name: string;
  layout: string;
  why: string;
  must: string;
}

/** The recorded images of a folder. */
export interface OciGoldens {
  /** Every image that must be imported. */
  goldenImages: GoldenImage[];
  /** Every image that must be refused, or that has something wrong which only fsck reports. */
  malformedImages: MalformedImage[];
  /** A recorded file of an image: one folder per image, or per tag of an artifact. */
  recorded: (image: GoldenImage, file: string) => string;
  /** Unpacks a layout below a directory; gives the layout's directory. */
  unpackLayout: (layout: string, below: string) => string;
}

/** Opens a folder of OCI goldens; fails when it holds no images. */
export function openOciGoldens(folder: string): OciGoldens {
  const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as {
    images: GoldenImage[];
    malformed: MalformedImage[];
  };
  if (index.images.length === 0 || index.malformed.length === 0) throw new Error(`no images in ${folder}/index.json`);
  return {
    goldenImages: index.images,
    malformedImages: index.malformed,
    recorded: (image, file) => join(folder, image.is_container ? image.name : `${image.name}.${image.tag}`, file),
    unpackLayout: (layout, below) => unpack(join(folder, layout), join(below, layout.replace(/\.tar$/, ""))),
  };
}

function unpack(archive: string, target: string): string {
  let file: { path: string; chunks: Uint8Array[] } | undefined;
  const flush = () => {
    if (file === undefined) return;
    mkdirSync(dirname(file.path), { recursive: true });
    writeFileSync(file.path, Buffer.concat(file.chunks));
    file = undefined;
  };
  const reader = new TarReader(archive, {
    entry: (entry, content) => {
      flush();
      if (entry.type !== "file") return;
      file = { path: join(target, entry.path), chunks: content === undefined ? [] : [content.slice()] };
    },
    content: (bytes) => void file?.chunks.push(bytes.slice()),
  });
  reader.push(readFileSync(archive));
  reader.finish();
  flush();
  return target;
}
