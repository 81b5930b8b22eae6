// What the annotations of a layer say about its table of contents (docs/spec/oci.md, section 4.7). All of it is a claim: whatever is
// made with it is verified against the diff_id.

import { isDigest, type Digest } from "../digest.ts";
import type { Descriptor } from "../manifest.ts";

/** A compressed part of a blob. */
export interface BlobPart {
  /** Where it begins in the blob, in bytes. */
  readonly offset: number;
  /** Its bytes there. */
  readonly length: number;
  /** Its bytes when it is decompressed. */
  readonly decoded: number;
}

/** A table of contents that a layer is said to have. */
export type AnnouncedToc =
  | {
      readonly kind: "zstd:chunked";
      readonly toc: BlobPart;
      /** Digest of the table as it is in the blob, compressed. */
      readonly digest: Digest;
      /** The data that is not content of files. */
      readonly tarSplit: BlobPart | undefined;
    }
  | {
      readonly kind: "eStargz";
      /** Digest of the table's text. */
      readonly digest: Digest;
    };

/** Largest table and largest tar-split data that are looked at, in bytes. Layers with larger ones are fetched whole. */
const MAX_COMPRESSED = 16 << 20;
export const MAX_TABLE = 64 << 20;
const MAX_TAR_SPLIT = 256 << 20;

/** The prefix of today, and the one that tools wrote until 2023. */
const PREFIXES = ["io.github.containers.zstd-chunked", "io.containers.zstd-chunked"];

/** The table that a layer's annotations name; undefined when there is none that could be used. */
export function announcedToc({ annotations = {}, size }: Descriptor): AnnouncedToc | undefined {
  for (const prefix of PREFIXES) {
    const digest = annotations[`${prefix}.manifest-checksum`];
    // Offset, compressed and decoded length, and the type of the table, of which 1 is the only one there is.
    const position = /^(.*):1$/.exec(annotations[`${prefix}.manifest-position`] ?? "")?.[1];
    const toc = part(position, size, MAX_TABLE);
    if (toc === undefined || digest === undefined || !isVerifiable(digest)) continue;
    const tarSplit = part(annotations[`${prefix}.tarsplit-position`], size, MAX_TAR_SPLIT);
    return { kind: "zstd:chunked", toc, digest, tarSplit };
  }
  const digest = annotations["containerd.io/snapshot/stargz/toc.digest"];
  return digest !== undefined && isVerifiable(digest) ? { kind: "eStargz", digest } : undefined;
}

function part(text: string | undefined, size: number, limit: number): BlobPart | undefined {
  const numbers = /^(\d{1,15}):(\d{1,15}):(\d{1,15})$/
    .exec(text ?? "")
    ?.slice(1)
    .map(Number);
  if (numbers === undefined) return undefined;
  const [offset = 0, length = 0, decoded = 0] = numbers;
  const isSound = offset > 8 && length > 0 && offset + length <= size && length <= MAX_COMPRESSED && decoded <= limit;
  return isSound ? { offset, length, decoded } : undefined;
}

function isVerifiable(digest: string): boolean {
  return /^sha(?:256|384|512):/.test(digest) && isDigest(digest);
}
