// Images in the archives of `docker save`, `docker-archive:` (docs/spec/oci.md, sections 2.3 and 4.4). They have no manifest: one is
// generated, the same every time. Both forms are read: layers by name or link, and the newer one with blobs/.

import * as v from "valibot";

import { ComposefsError, throwIfAborted } from "../../error.ts";
import { parseImageConfig, type ImageConfig } from "../config.ts";
import { decompress, sniffCompression } from "../decompress.ts";
import { contentDigest, type Digest } from "../digest.ts";
import { generateManifest } from "../docker-schema2.ts";
import { parseJson } from "../json.ts";
import { checkDocument, MAX_DOCUMENT_SIZE, MEDIA_TYPE, type Descriptor } from "../manifest.ts";
import { nearNames } from "../near-names.ts";
import { chooseCandidate, formatPlatform, hostPlatform, type Candidate } from "../platform.ts";
import { parseRegistryName } from "../reference.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";
import { TarIndex, type TarMember } from "./tar-index.ts";

/** Images of one archive, and layers of one image. */
const MAX_ITEMS = 1000;

const savedImages = v.array(
  v.object({
    Config: v.string(),
    RepoTags: v.nullish(v.array(v.string())),
    Layers: v.nullish(v.array(v.string())),
  }),
);
const KEYS: ReadonlySet<string> = new Set(["Config", "RepoTags", "Layers"]);

interface SavedImage {
  readonly config: string;
  readonly names: readonly string[];
  readonly layers: readonly string[];
}

interface ReadImage extends Candidate {
  readonly image: SavedImage;
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
}

interface StoredLayer {
  readonly member: TarMember;
  readonly packed: boolean;
}

/** An opened archive of `docker save`, `podman save` or `skopeo copy`. */
export class DockerArchiveSource implements ImageSource {
  readonly transport: "docker-archive" | "docker-daemon";
  readonly #archive: TarIndex;
  readonly #images: readonly SavedImage[];
  readonly #wanted: string | undefined;
  readonly #documents = new Map<Digest, Uint8Array>();
  readonly #layers = new Map<Digest, StoredLayer>();

  private constructor(
    archive: TarIndex,
    images: readonly SavedImage[],
    wanted: string | undefined,
    transport: "docker-archive" | "docker-daemon",
  ) {
    this.transport = transport;
    this.#archive = archive;
    this.#images = images;
    this.#wanted = wanted;
  }

  /**
   * Opens an archive.
   *
   * @param name the image in it, `NAME[:TAG]`, or `@N` for the one at that place, counted from 0; undefined when there is just one
   * @throws ComposefsError `not-found`; `invalid` when it is no tar archive, has no `manifest.json` or a wrong one
   */
  static async open(path: string, name?: string, signal?: AbortSignal): Promise<DockerArchiveSource> {
    return DockerArchiveSource.of(await TarIndex.open(path, signal), name);
  }

  /**
   * Takes an archive that is open already, and closes it in the end.
   *
   * @param transport where it comes from
   */
  static async of(
    archive: TarIndex,
    name: string | undefined,
    transport: "docker-archive" | "docker-daemon" = "docker-archive",
  ): Promise<DockerArchiveSource> {
    const { path } = archive;
    try {
      if (archive.find("manifest.json") === undefined) throw notSaved(archive);
      const what = `manifest.json in ${path}`;
      const bytes = await archive.read("manifest.json", MAX_DOCUMENT_SIZE);
      const images = checkDocument(savedImages, parseJson(bytes, what, KEYS), what).map((image) => ({
        config: image.Config,
        names: image.RepoTags ?? [],
        layers: image.Layers ?? [],
      }));
      if (images.length > MAX_ITEMS || images.some(({ layers }) => layers.length > MAX_ITEMS)) {
        throw new ComposefsError("limit", `${what} lists more than ${MAX_ITEMS} images or layers`, { path });
      }
      return new DockerArchiveSource(archive, images, name, transport);
    } catch (error) {
      await archive[Symbol.asyncDispose]();
      throw error;
    }
  }

  async resolve({ platform, signal }: ResolveOptions = {}): Promise<ResolvedManifest> {
    const { path } = this.#archive;
    const candidates: ReadImage[] = [];
    for (const image of this.#select()) candidates.push(await this.#read(image));
    const wanted = platform ?? hostPlatform();
    const choice = chooseCandidate(candidates, wanted);
    if (choice.kind === "ambiguous") {
      throw new ComposefsError("invalid", `${path} holds several images: ${choice.names.slice(0, 10).join(", ")}`, {
        path,
        hint: "name one of them after the path, as in docker-archive:FILE:NAME:TAG, or by its place, as in docker-archive:FILE:@0",
      });
    }
    if (choice.kind === "none") {
      const offered = choice.available.slice(0, 10).join(", ");
      throw new ComposefsError(
        "not-found",
        `${path} has no image for ${formatPlatform(wanted)}; it has ${offered === "" ? "none" : offered}`,
        { path, hint: "choose another one with --platform OS/ARCH[/VARIANT]" },
      );
    }
    return this.#generate(choice.candidate, signal);
  }

  async *blob({ digest }: Descriptor, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const document = this.#documents.get(digest);
    if (document !== undefined) {
      yield document;
      return;
    }
    const layer = this.#layers.get(digest);
    if (layer === undefined) {
      const { path } = this.#archive;
      throw new ComposefsError("not-found", `the blob ${digest} is not in ${path}`, { path, digest });
    }
    yield* this.#content(layer, `the layer ${digest}`, options.signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#archive[Symbol.asyncDispose]();
  }

  #content({ member, packed }: StoredLayer, what: string, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    const bytes = this.#archive.stream(member, what, signal);
    return packed ? decompress(bytes, { name: what }) : bytes;
  }

  /** The images that the reference means. */
  #select(): readonly SavedImage[] {
    const { path } = this.#archive;
    const wanted = this.#wanted;
    if (this.#images.length === 0) {
      throw new ComposefsError("not-found", `${path} is empty: its manifest.json lists no images`, { path });
    }
    if (wanted === undefined) return this.#images;
    if (wanted.startsWith("@")) {
      const image = /^@[0-9]{1,6}$/.test(wanted) ? this.#images[Number(wanted.slice(1))] : undefined;
      if (image !== undefined) return [image];
      const last = this.#images.length - 1;
      throw new ComposefsError("not-found", `${path} has no image ${wanted}`, {
        path,
        hint: `its images are @0${last === 0 ? "" : ` to @${last}`}`,
      });
    }
    const name = fullName(parseRegistryName(wanted, `docker-archive:${path}:${wanted}`));
    const found = this.#images.filter(({ names }) => names.some((tag) => normalized(tag) === name));
    if (found.length > 0) return found;
    const names = [...new Set(this.#images.flatMap((image) => image.names))].toSorted();
    const near = nearNames(wanted, names);
    const listed = (near.length > 0 ? near : names).slice(0, 10).join(", ");
    const hint =
      names.length === 0
        ? `its images have no names; write docker-archive:${path}${this.#images.length === 1 ? "" : ":@0"}`
        : near.length > 0
          ? `did you mean ${listed}?`
          : `it has ${listed}${names.length > 10 ? ", ..." : ""}`;
    throw new ComposefsError("not-found", `${path} has no image ${JSON.stringify(wanted)}`, { path, hint });
  }

  async #read(image: SavedImage): Promise<ReadImage> {
    const configBytes = await this.#archive.read(image.config, MAX_DOCUMENT_SIZE);
    const config = parseImageConfig(configBytes, `the config ${image.config} in ${this.#archive.path}`);
    const { os, architecture, variant } = config;
    const platform = { os, architecture, variant };
    // The config's digest is the image's identity here: the same image under two names is one.
    return { image, configBytes, config, platform, digest: contentDigest(configBytes), name: image.names[0] };
  }

  async #generate({ image, configBytes, config, digest }: ReadImage, signal?: AbortSignal): Promise<ResolvedManifest> {
    const { path } = this.#archive;
    if (config.diffIds.length !== image.layers.length) {
      throw new ComposefsError(
        "invalid",
        `${path} does not fit together: its manifest.json has ${image.layers.length} layers, the config ${image.config} ${config.diffIds.length} diff_ids`,
        { path, hint: "save the image again" },
      );
    }
    const layers: Descriptor[] = [];
    for (const [i, name] of image.layers.entries()) {
      const diffId = config.diffIds[i] as Digest;
      layers.push({ mediaType: MEDIA_TYPE.ociLayer, digest: diffId, size: await this.#addLayer(diffId, name, signal) });
    }
    const descriptor = { mediaType: MEDIA_TYPE.ociConfig, digest, size: configBytes.length };
    this.#documents.set(digest, configBytes);
    const generated = generateManifest(descriptor, layers);
    return { bytes: generated.bytes, digest: generated.digest, mediaType: MEDIA_TYPE.ociManifest };
  }

  /** Finds a layer; gives its uncompressed size, for which a compressed one has to be read. */
  async #addLayer(diffId: Digest, name: string, signal: AbortSignal | undefined): Promise<number> {
    const { path } = this.#archive;
    const member = this.#archive.find(name);
    if (member === undefined) {
      throw new ComposefsError("not-found", `the layer ${name} is missing in ${path}`, {
        path,
        digest: diffId,
        hint: "the archive is incomplete; save the image again",
      });
    }
    const start = { offset: member.offset, size: Math.min(member.size, 4) };
    let packed = false;
    for await (const bytes of this.#archive.stream(start, name)) packed = sniffCompression(bytes) !== "none";
    const layer = { member, packed };
    this.#layers.set(diffId, layer);
    if (!packed) return member.size;
    let size = 0;
    for await (const bytes of this.#content(layer, `the layer ${name} in ${path}`, signal)) {
      throwIfAborted(signal);
      size += bytes.length;
    }
    return size;
  }
}

function fullName({ domain, path, tag }: ReturnType<typeof parseRegistryName>): string {
  return `${domain}/${path}:${tag ?? ""}`;
}

/** A name of the archive in full; as it is where it is none, so that it matches nothing. */
function normalized(name: string): string {
  try {
    return fullName(parseRegistryName(name));
  } catch {
    return name;
  }
}

function notSaved(archive: TarIndex): ComposefsError {
  const { path } = archive;
  const isLayout = archive.find("index.json") !== undefined;
  return new ComposefsError("invalid", `${path} is no archive of docker save: it has no manifest.json`, {
    path,
    hint: isLayout
      ? `it is the archive of an OCI layout: write oci-archive:${path}`
      : "name an archive that `docker save`, `podman save` or `skopeo copy ... docker-archive:FILE` wrote",
  });
}
