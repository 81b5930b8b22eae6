// An image in the repository, by whatever name it is called (docs/spec/oci.md, section 8): tag, @DIGEST, DIGEST or
// TAG@DIGEST, where DIGEST is that of the manifest or, if there is no such manifest, of the config.

import type { ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { CONFIG, MANIFEST } from "../splitstream/content-type.ts";
import type { StoredLayer } from "./build-image.ts";
import { parseImageConfig, type ImageConfig } from "./config.ts";
import { isDigest, type Digest } from "./digest.ts";
import { isImageRef } from "./image-refs.ts";
import { isContainerManifest, parseManifest, type Manifest } from "./manifest.ts";
import {
  configRef,
  configStream,
  layerStream,
  manifestStream,
  readDocumentStream,
  type StoredDocument,
} from "./streams.ts";
import { findTag, unknownTag } from "./tags.ts";

/** The manifest of a stored image. */
export interface StoredManifest extends StoredDocument {
  readonly digest: Digest;
  readonly value: Manifest;
}

/** The config of a stored image; `value` is undefined for artifacts, whose config can be anything. */
export interface StoredConfig extends StoredDocument {
  readonly digest: Digest;
  readonly value: ImageConfig | undefined;
}

/** An image as found. */
export interface StoredImage {
  /** What the caller called it. */
  readonly name: string;
  /** Undefined when it was named by its config. */
  readonly manifest: StoredManifest | undefined;
  readonly config: StoredConfig;
  readonly isContainer: boolean;
  /** Lowest first, with repetitions. */
  readonly layers: readonly StoredLayer[];
  /** EROFS images by their key, see `imageRefKey`. */
  readonly imageRefs: ReadonlyMap<string, ObjectId>;
}

/**
 * Finds an image and reads its manifest and config.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @throws ComposefsError `not-found` (unknown names, suggesting near ones), `corrupt` when something of it is lost
 */
export async function openImage(repository: Repository, name: string): Promise<StoredImage> {
  const tagged = findTag(repository, name);
  if (tagged !== undefined) return openManifest(repository, name, tagged);
  const digest = digestOf(name);
  if (digest === undefined) throw unknownTag(repository, name);
  if (repository.stream(manifestStream(digest)) !== undefined) return openManifest(repository, name, digest);
  const configId = repository.stream(configStream(digest));
  if (configId === undefined) {
    throw new ComposefsError("not-found", `there is no manifest and no config ${digest} in ${repository.path}`, {
      digest,
      hint: "`composefs oci images --json` shows the manifest digests that are there",
    });
  }
  const config = await openConfig(repository, configId, digest, true);
  return { name, manifest: undefined, config, isContainer: true, layers: containerLayers(config), ...refsOf(config) };
}

/** The digest in `@DIGEST`, `DIGEST` and `TAG@DIGEST`. */
function digestOf(name: string): Digest | undefined {
  const text = name.slice(name.lastIndexOf("@") + 1);
  // `os:latest` has the syntax of a digest as well, and is meant as a tag.
  if (isDigest(text) && /^sha(?:256|384|512):/.test(text)) return text;
  if (!name.startsWith("@")) return undefined;
  throw new ComposefsError("invalid", `${JSON.stringify(text)} is not a digest`, {
    hint: "after @ comes sha256: and 64 lower-case hex digits",
  });
}

/** Opens an image by its manifest. */
export async function openManifest(repository: Repository, name: string, digest: Digest): Promise<StoredImage> {
  const id = repository.stream(manifestStream(digest));
  if (id === undefined) {
    throw new ComposefsError("corrupt", `the manifest ${digest} of ${JSON.stringify(name)} is missing`, {
      digest,
      hint: "pull the image again, or remove the tag with `composefs oci untag`",
    });
  }
  const document = await readDocumentStream(repository, id, digest, MANIFEST);
  const value = parseManifest(document.bytes, `the manifest ${digest}`);
  const configDigest = value.config.digest;
  const isContainer = isContainerManifest(value);
  const configId = document.refs.get(configRef(configDigest)) ?? repository.stream(configStream(configDigest));
  if (configId === undefined) {
    throw new ComposefsError("corrupt", `the config ${configDigest} of ${JSON.stringify(name)} is missing`, {
      digest: configDigest,
      hint: "pull the image again",
    });
  }
  const config = await openConfig(repository, configId, configDigest, isContainer);
  const manifest: StoredManifest = { ...document, digest, value };
  const layers = isContainer
    ? containerLayers(config, document.refs)
    : value.layers.map((layer) => storedLayer(repository, layer.digest, document.refs));
  return { name, manifest, config, isContainer, layers, ...refsOf(config) };
}

async function openConfig(
  repository: Repository,
  id: ObjectId,
  digest: Digest,
  isContainer: boolean,
): Promise<StoredConfig> {
  const document = await readDocumentStream(repository, id, digest, CONFIG);
  const value = isContainer ? parseImageConfig(document.bytes, `the config ${digest}`) : undefined;
  return { ...document, digest, value };
}

function containerLayers(config: StoredConfig, manifestRefs?: ReadonlyMap<string, ObjectId>): StoredLayer[] {
  const diffIds = config.value?.diffIds ?? [];
  return diffIds.map((digest) => {
    const id = config.refs.get(digest) ?? manifestRefs?.get(digest);
    if (id === undefined) throw lostLayer(digest);
    return { digest, id };
  });
}

function storedLayer(repository: Repository, digest: Digest, refs: ReadonlyMap<string, ObjectId>): StoredLayer {
  const id = refs.get(digest) ?? repository.stream(layerStream(digest));
  if (id === undefined) throw lostLayer(digest);
  return { digest, id };
}

function lostLayer(digest: Digest): ComposefsError {
  return new ComposefsError("corrupt", `nothing in the repository says where the layer ${digest} is`, {
    digest,
    hint: "pull the image again",
  });
}

function refsOf(config: StoredConfig): Pick<StoredImage, "imageRefs"> {
  return { imageRefs: new Map([...config.refs].filter(([key]) => isImageRef(key))) };
}

/** The config's part of a container image; an artifact is refused with what it is. */
export function requireContainer(image: StoredImage): ImageConfig {
  const { value } = image.config;
  if (image.isContainer && value !== undefined) return value;
  const type = image.manifest?.value.artifactType ?? image.manifest?.value.config.mediaType;
  throw new ComposefsError("invalid", `${image.name} is an artifact (${type}), not a container image`, {
    hint: "artifacts have layers but no file system",
  });
}
