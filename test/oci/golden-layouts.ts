// The recorded layouts, unpacked, and what was recorded with them (test/goldens/oci/README.md).

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { TarReader } from "../../src/oci/tar.ts";
import { goldensDir } from "../goldens-dir.ts";

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

const folder = goldensDir("oci");

const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as {
  images: GoldenImage[];
  malformed: MalformedImage[];
};

/** Every image that must be imported. */
export const goldenImages: GoldenImage[] = index.images;
/** Every image that must be refused, or that has something wrong which only fsck reports. */
export const malformedImages: MalformedImage[] = index.malformed;
if (goldenImages.length === 0 || malformedImages.length === 0) throw new Error(`no images in ${folder}/index.json`);

/** The recorded files of an image: one folder per image, or per tag of an artifact. */
export function recorded(image: GoldenImage, file: string): string {
  return join(folder, image.is_container ? image.name : `${image.name}.${image.tag}`, file);
}

/** Unpacks a layout below a directory; gives the layout's directory. */
export function unpackLayout(layout: string, below: string): string {
  const target = join(below, layout.replace(/\.tar$/, ""));
  let file: { path: string; chunks: Uint8Array[] } | undefined;
  const flush = () => {
    if (file === undefined) return;
    mkdirSync(dirname(file.path), { recursive: true });
    writeFileSync(file.path, Buffer.concat(file.chunks));
    file = undefined;
  };
  const reader = new TarReader(layout, {
    entry: (entry, content) => {
      flush();
      if (entry.type !== "file") return;
      file = { path: join(target, entry.path), chunks: content === undefined ? [] : [content.slice()] };
    },
    content: (bytes) => void file?.chunks.push(bytes.slice()),
  });
  reader.push(readFileSync(join(folder, layout)));
  reader.finish();
  flush();
  return target;
}
