// `oci layer`: a stored layer as its tar archive, as dump lines, or as numbers (docs/spec/oci.md, section 8).

import { objectPath, type ObjectId } from "../bytes/algorithm.ts";
import type { ByteString } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { escapeField, escapeXattr } from "../tree/dump.ts";
import type { Digest } from "./digest.ts";
import { streamBytes } from "./layer-bytes.ts";
import { readLayer, type LayerEntry } from "./layer/read.ts";
import { layerStream } from "./streams.ts";

/** What `oci layer --json` prints; the JSON has these names. */
export interface LayerInfo {
  diffId: Digest;
  /** Object id of the layer's stream. */
  verity: ObjectId;
  /** Bytes of the uncompressed archive. */
  size: number;
  entryCount: number;
  splitstream: {
    /** Distinct objects. */
    externalObjects: number;
    /** Bytes of the external chunks, repetitions included. */
    externalSize: number;
    inlineSize: number;
  };
}

/** The stream of a layer, or an error that says what layers there are. */
function findLayer(repository: Repository, diffId: string): { id: ObjectId; digest: Digest } {
  const digest = diffId.startsWith("@") ? diffId.slice(1) : diffId;
  const id = repository.stream(layerStream(digest));
  if (id !== undefined) return { id, digest };
  throw new ComposefsError("not-found", `there is no layer ${digest} in ${repository.path}`, {
    digest,
    hint: "layers are named by their diff_id, which `composefs oci inspect --config IMAGE` shows",
  });
}

/**
 * The original archive of a layer.
 *
 * @throws ComposefsError `not-found`
 */
export async function* layerTar(
  repository: Repository,
  diffId: Digest,
  signal?: AbortSignal,
): AsyncIterable<Uint8Array> {
  yield* streamBytes(repository, findLayer(repository, diffId).id, signal);
}

/**
 * Counts of a layer.
 *
 * @throws ComposefsError `not-found`, `invalid` for a layer that is no tar archive
 */
export async function layerInfo(repository: Repository, diffId: Digest): Promise<LayerInfo> {
  const { id, digest } = findLayer(repository, diffId);
  const stream = await repository.openStream(id);
  let entryCount = 0;
  let externalSize = 0;
  for await (const { content } of readLayer(repository, id, `layer ${digest}`)) {
    entryCount++;
    if (content?.kind === "external") externalSize += content.size;
  }
  const size = Number(stream.size);
  return {
    diffId: digest,
    verity: id,
    size,
    entryCount,
    splitstream: { externalObjects: stream.objectRefs.length, externalSize, inlineSize: size - externalSize },
  };
}

/**
 * The entries of a layer as dump lines, in archive order: whiteouts are files, hard links `@` lines, and paths are as
 * in the archive.
 *
 * @returns lines as byte strings, each with its line feed
 * @throws ComposefsError `not-found`, `invalid`
 */
export async function* layerDump(repository: Repository, diffId: Digest): AsyncIterable<ByteString> {
  const { id, digest } = findLayer(repository, diffId);
  for await (const entry of readLayer(repository, id, `layer ${digest}`)) yield dumpLine(entry);
}

const FILE_TYPE: Record<LayerEntry["type"], number> = {
  file: 0o100000,
  hardlink: 0o120000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  directory: 0o040000,
  fifo: 0o010000,
};

function dumpLine(entry: LayerEntry): ByteString {
  const path = escapeField(absolute(entry.path));
  if (entry.type === "hardlink") return `${path} 0 @120000 - - - - 0.0 ${escapeField(absolute(entry.link))} - -\n`;
  const { stat, content } = entry;
  let size = 0;
  let payload = "-";
  let inline = "-";
  let digest = "-";
  if (entry.type === "symlink") {
    size = entry.link.length;
    payload = escapeField(entry.link);
  } else if (content?.kind === "inline") {
    size = content.bytes.length;
    inline = escapeField(Buffer.from(content.bytes).toString("latin1"));
  } else if (content?.kind === "external" && content.digest !== undefined) {
    size = content.size;
    payload = objectPath(content.digest);
    digest = content.digest;
  }
  const mode = (FILE_TYPE[entry.type] | stat.mode).toString(8);
  const owner = `${stat.uid} ${stat.gid} ${entry.rdev} ${stat.mtimeSec}.${stat.mtimeNsec}`;
  const xattrs = [...stat.xattrs]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ` ${escapeXattr(key)}=${escapeXattr(value)}`);
  return `${path} ${size} ${mode} 1 ${owner} ${payload} ${inline} ${digest}${xattrs.join("")}\n`;
}

/** The archive's text without slashes at its end, and with one before it. */
function absolute(path: ByteString): ByteString {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed === "" || trimmed.startsWith("/") ? trimmed : `/${trimmed}`;
}
