// Writes images into an OCI layout directory (docs/spec/oci.md, section 2.3). Blobs come first, each complete under its digest or
// not there; index.json is replaced last, so that whatever fails leaves the layout as it was, and at most unused blobs.

import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { blobHasher } from "../core/blob-digest.ts";
import { ComposefsError, systemError, throwIfAborted } from "../error.ts";
import { replaceFile, syncDirectory } from "../runtime/replace-file.ts";
import { contentDigest, digestHasher, parseDigest, type Digest } from "./digest.ts";
import { type Descriptor, MAX_DOCUMENT_SIZE, parseIndex } from "./manifest.ts";
import type { Platform } from "./platform.ts";
import { REF_NAME } from "./source/choose.ts";

/** A layout that images are written into. */
export class LayoutWriter {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /**
   * Opens a layout, or what will become one: nothing, an empty directory, or one that a write was cut short in. Writes nothing.
   *
   * @throws ComposefsError `exists` when the directory holds something else, `invalid` when its index is broken
   */
  static open(directory: string): LayoutWriter {
    try {
      if (statSync(join(directory, "index.json"), { throwIfNoEntry: false }) !== undefined) readIndex(directory);
      else if (statSync(directory, { throwIfNoEntry: false }) !== undefined) checkEmpty(directory);
    } catch (error) {
      throw systemError(error, `opening the layout ${directory}`, directory);
    }
    return new LayoutWriter(directory);
  }

  /** Whether a blob of that size is there. Its content is taken to be what its name says. */
  has({ digest, size }: Pick<Descriptor, "digest" | "size">): boolean {
    return statSync(this.#path(digest), { throwIfNoEntry: false })?.size === size;
  }

  /** Writes a small blob and describes it. */
  async putBytes(bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
    const digest = contentDigest(bytes);
    const descriptor = { mediaType, digest, size: bytes.length };
    if (!this.has(descriptor)) await this.put(descriptor, [bytes]);
    return descriptor;
  }

  /**
   * Writes a blob whose digest is known.
   *
   * @throws ComposefsError `digest-mismatch` when the content is another one; then nothing has been written
   */
  async put(
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<void> {
    const path = this.#path(digest);
    const hasher = await digestHasher(digest);
    try {
      mkdirSync(join(path, ".."), { recursive: true });
    } catch (error) {
      throw systemError(error, `making the layout ${this.directory}`, this.directory);
    }
    await replaceFile(path, async (fd) => {
      let written = 0;
      for await (const chunk of content) {
        throwIfAborted(signal);
        hasher.update(chunk);
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
        written += chunk.length;
      }
      const actual = `${parseDigest(digest).algorithm}:${hasher.digest("hex")}`;
      if (actual === digest && written === size) return;
      throw new ComposefsError(
        "digest-mismatch",
        `the blob ${digest} of ${size} bytes came as ${actual} of ${written}`,
        {
          digest,
          hint: "the source changed or is damaged; nothing was written in its place",
        },
      );
    });
  }

  /**
   * Writes a blob whose digest is only known at its end.
   *
   * @returns its SHA-256 and its size in bytes
   */
  async putNew(content: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Pick<Descriptor, "digest" | "size">> {
    const directory = join(this.directory, "blobs", "sha256");
    // As the names of unfinished files, so that it goes like them when this is cut.
    const path = join(directory, `.composefs-${randomBytes(8).toString("hex")}`);
    const hasher = await blobHasher("sha256");
    let size = 0;
    try {
      mkdirSync(directory, { recursive: true });
      await replaceFile(path, async (fd) => {
        for await (const chunk of content) {
          throwIfAborted(signal);
          hasher.update(chunk);
          for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
          size += chunk.length;
        }
      });
      const digest: Digest = `sha256:${hasher.digest("hex")}`;
      renameSync(path, this.#path(digest));
      return { digest, size };
    } catch (error) {
      throw systemError(error, `writing the layout ${this.directory}`, this.directory);
    }
  }

  /**
   * Adds a manifest to the index under a tag, whose old manifest it replaces. Without a tag it replaces the one without.
   * Manifests of the tag for other platforms stay.
   */
  async publish(manifest: Descriptor, tag: string | undefined, platform: Platform): Promise<void> {
    const { directory } = this;
    const index = readIndex(directory);
    const isOther = ({ platform: other }: IndexEntry) =>
      other !== undefined && (other.os !== platform.os || other.architecture !== platform.architecture);
    const others = index.manifests.filter((entry) => entry.annotations?.[REF_NAME] !== tag || isOther(entry));
    const needsPlatform = others.some((entry) => entry.annotations?.[REF_NAME] === tag);
    const entry = {
      mediaType: manifest.mediaType,
      digest: manifest.digest,
      size: manifest.size,
      ...(needsPlatform ? { platform } : {}),
      ...(tag === undefined ? {} : { annotations: { [REF_NAME]: tag } }),
    };
    const document = { ...index.rest, manifests: [...others, entry] };
    try {
      syncDirectory(join(directory, "blobs", "sha256"));
    } catch (error) {
      throw systemError(error, `writing the layout ${directory}`, directory);
    }
    await writeText(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    await writeText(join(directory, "index.json"), JSON.stringify(document));
  }

  #path(digest: Digest): string {
    const { algorithm, value } = parseDigest(digest);
    return join(this.directory, "blobs", algorithm, value);
  }
}

interface IndexEntry {
  readonly annotations?: Record<string, string>;
  readonly platform?: Platform;
}

interface IndexToWrite {
  /** Everything beside the manifests. */
  readonly rest: Record<string, unknown>;
  readonly manifests: readonly IndexEntry[];
}

/** What is there; entries are kept as they are, known or not. */
function readIndex(directory: string): IndexToWrite {
  const path = join(directory, "index.json");
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { rest: { schemaVersion: 2 }, manifests: [] };
  if (stat.size > MAX_DOCUMENT_SIZE) throw new ComposefsError("limit", `${path} is larger than 4 MiB`, { path });
  const bytes = readFileSync(path);
  parseIndex(bytes, path);
  const { manifests, ...rest } = JSON.parse(bytes.toString("utf8")) as IndexToWrite & Record<string, unknown>;
  return { rest, manifests };
}

function checkEmpty(directory: string): void {
  const parts = new Set(["blobs", "oci-layout"]);
  const isFree = statSync(directory).isDirectory() && readdirSync(directory).every((name) => parts.has(name));
  if (isFree) return;
  throw new ComposefsError("exists", `${directory} is there and is no OCI layout`, {
    path: directory,
    hint: "name a layout, an empty directory, or one that does not exist",
  });
}

async function writeText(path: string, text: string): Promise<void> {
  await replaceFile(path, (fd) => {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  });
}
