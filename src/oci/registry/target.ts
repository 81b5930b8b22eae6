// A registry as the place that an image is written to, where registries.conf has it (docs/spec/oci.md, sections 3.2 and 9).

import type { FileHandle } from "node:fs/promises";

import { blobHasher } from "../../core/blob-digest.ts";
import { systemError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { namelessFile } from "../../runtime/nameless-file.ts";
import { contentDigest } from "../digest.ts";
import type { ImageTarget } from "../image-target.ts";
import type { Descriptor } from "../manifest.ts";
import type { Platform } from "../platform.ts";
import type { RegistryName } from "../reference.ts";
import { readRange } from "../source/read-range.ts";
import { endpointsOf } from "./endpoints.ts";
import { type BlobContent, type BlobToPush, RegistryPush } from "./push.ts";
import { loadRegistriesConf } from "./registries-conf.ts";
import type { RegistryOptions } from "./requests.ts";

/** An image on a registry, to be. Close it with `await using`. */
export class RegistryTarget implements ImageTarget, AsyncDisposable {
  readonly #push: RegistryPush;
  readonly #onProgress: ProgressListener | undefined;

  private constructor(push: RegistryPush, onProgress: ProgressListener | undefined) {
    this.#push = push;
    this.#onProgress = onProgress;
  }

  /**
   * Finds the place of a name; nothing is asked of it yet. Mirrors are never pushed to.
   *
   * @throws ComposefsError `permission` when the registry is blocked
   */
  static async open(name: RegistryName, options: RegistryOptions = {}): Promise<RegistryTarget> {
    const place = endpointsOf(await loadRegistriesConf(), name).at(-1);
    const push = new RegistryPush(place?.name ?? name, {
      ...options,
      tlsVerify: options.tlsVerify ?? !(place?.insecure ?? false),
    });
    return new RegistryTarget(push, options.onProgress);
  }

  async put(blob: BlobToPush, content: BlobContent, signal?: AbortSignal): Promise<void> {
    const { digest, size } = blob;
    const id = `push ${digest}`;
    if (await this.#push.has(blob, signal)) {
      this.#onProgress?.({ type: "done", id, skipped: true });
      return;
    }
    this.#onProgress?.({ type: "start", id, kind: "copy", label: id, total: size });
    const onProgress = (done: number) => this.#onProgress?.({ type: "advance", id, done, total: size });
    await this.#push.put(blob, content, { signal, onProgress });
    this.#onProgress?.({ type: "done", id });
  }

  /** A registry is asked first whether it has a blob: it is written into a temporary file to know its digest. */
  async putNew(content: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<BlobToPush> {
    const file = await namelessFile("composefs-push-");
    try {
      const hasher = await blobHasher("sha256");
      let size = 0;
      for await (const chunk of content) {
        throwIfAborted(signal);
        hasher.update(chunk);
        await writeAll(file, chunk, size);
        size += chunk.length;
      }
      const blob = { digest: `sha256:${hasher.digest("hex")}`, size };
      const names = { what: "the compressed layer", path: "a temporary file", digest: blob.digest };
      await this.put(blob, () => readRange(file, { offset: 0, size }, names, signal), signal);
      return blob;
    } finally {
      await file.close();
    }
  }

  async publish(bytes: Uint8Array, mediaType: string, _: Platform, signal?: AbortSignal): Promise<Descriptor> {
    await this.#push.putManifest(bytes, mediaType, signal);
    return { mediaType, digest: contentDigest(bytes), size: bytes.length };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#push.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; ) {
      at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
    }
  } catch (error) {
    throw systemError(error, "writing the compressed layer into a temporary file (TMPDIR says where)");
  }
}
