// Streams of a repository in the form in which the goldens record them: decoded, with names instead of the ids of
// splitstreams, which depend on the zstd encoder.

import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { Repository } from "../../src/repository/repository.ts";

/** A decoded stream. */
export interface DecodedStream {
  content_type: string;
  size: number;
  object_refs: string[];
  named_refs: Record<string, string>;
  chunks: ({ inline: number; sha256: string } | { object: string; size: number })[];
}

/** Every `oci-*` stream, by name. */
export async function decodeStreams(repository: Repository): Promise<Record<string, DecodedStream>> {
  const names = readdirSync(join(repository.path, "streams")).filter((name) => name.startsWith("oci-"));
  const nameOf = new Map(names.map((name) => [repository.stream(name), name]));
  const folder = join(repository.path, "images");
  const images = new Set(existsSync(folder) ? readdirSync(folder) : []);
  const streams: Record<string, DecodedStream> = {};
  for (const name of names.toSorted()) {
    const stream = await repository.openStream(name);
    const chunks: DecodedStream["chunks"] = [];
    let inline: Uint8Array[] = [];
    const flush = () => {
      if (inline.length === 0) return;
      const bytes = Buffer.concat(inline);
      chunks.push({ inline: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") });
      inline = [];
    };
    for await (const chunk of stream.chunks()) {
      if (chunk.kind === "inline") {
        inline.push(chunk.bytes.slice());
        continue;
      }
      flush();
      const object = repository.openObject(chunk.id);
      chunks.push({ object: chunk.id, size: object.size });
      object.close();
    }
    flush();
    streams[name] = {
      content_type: stream.contentType,
      size: Number(stream.size),
      object_refs: stream.objectRefs,
      named_refs: Object.fromEntries(
        [...stream.namedRefs].map(([key, id]) => {
          const target = nameOf.get(id);
          if (target !== undefined) return [key, `stream:${target}`];
          if (images.has(id)) return [key, `image:${id}`];
          throw new Error(`${name} names ${key} = ${id}, which is neither a stream nor an image`);
        }),
      ),
      chunks,
    };
  }
  return streams;
}
