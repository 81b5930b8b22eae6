// Reads a stored layer as the entries of its tar archive (docs/spec/oci.md, section 5; docs/spec/splitstream.md, 4.2):
// what the merge of an image, `oci layer` and copies work from.

import type { ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError } from "../../error.ts";
import type { Repository } from "../../repository/repository.ts";
import { LAYER } from "../../splitstream/content-type.ts";
import type { Splitstream } from "../../splitstream/read.ts";
import type { Content } from "../../tree/node.ts";
import type { TarEntry } from "../tar-entry.ts";
import { TarReader } from "../tar.ts";

/** An entry of a stored layer. */
export interface LayerEntry extends TarEntry {
  /** Content of a regular file: inline up to 64 bytes, an object above; undefined for all other types. */
  readonly content: Content | undefined;
}

/**
 * The entries of a stored layer, in archive order. Objects are not opened: their ids stand for their content.
 *
 * @param id object id of the layer's splitstream, or its content id
 * @param name what the layer is called in messages
 * @throws ComposefsError `corrupt` when the stream is not a well-formed layer
 *
 * @example
 * ```ts
 * for await (const entry of readLayer(repository, id, "layer 1")) merger.apply(entry, "layer 1");
 * ```
 */
export async function* readLayer(
  repository: Pick<Repository, "openStream">,
  id: ObjectId,
  name: string,
): AsyncGenerator<LayerEntry, void, undefined> {
  yield* layerEntries(await repository.openStream(id), name);
}

/** The entries of an opened layer stream; see {@link readLayer}. */
export async function* layerEntries(stream: Splitstream, name: string): AsyncGenerator<LayerEntry, void, undefined> {
  if (stream.contentType !== LAYER) {
    throw new ComposefsError("corrupt", `${name}: its stream holds ${stream.contentType}, not a tar layer`, {
      path: name,
    });
  }
  let found: LayerEntry[] = [];
  const reader = new TarReader(name, {
    entry: (entry, bytes) => {
      if (bytes !== undefined) found.push({ ...entry, content: { kind: "inline", bytes } });
      // The content of a larger file comes as a chunk of its own.
      else if (entry.type !== "file") found.push({ ...entry, content: undefined });
    },
    content: () => {
      throw new ComposefsError("corrupt", `${name}: the content of a large file is not in an object`, { path: name });
    },
  });
  try {
    for await (const chunk of stream.chunks()) {
      if (chunk.kind === "inline") {
        reader.push(chunk.bytes);
      } else {
        const entry = reader.external();
        found.push({ ...entry, content: { kind: "external", size: entry.size, digest: chunk.id } });
      }
      yield* found;
      found = [];
    }
    reader.finish();
  } catch (error) {
    throw asCorrupt(error);
  }
}

// The same reader has accepted these bytes once: what it refuses now was damaged since.
function asCorrupt(error: unknown): unknown {
  if (!(error instanceof ComposefsError) || error.code !== "invalid") return error;
  return new ComposefsError("corrupt", error.message, {
    cause: error,
    hint: "pull the image again after removing it and collecting garbage",
    ...(error.path === undefined ? {} : { path: error.path }),
  });
}
