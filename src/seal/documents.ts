// Config and manifest of a sealed image (docs/spec/oci.md, section 11): the documents of the image it was made from, with one layer
// more, the label and the annotations that say which composefs images it has. Everything else stays as it was.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { fsverityDigest } from "../core/fsverity.ts";
import { ComposefsError } from "../error.ts";
import { contentDigest, type Digest } from "../oci/digest.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/manifest.ts";

/** The label that names the image of a container; `oci fsck` looks it up. */
export const SEAL_LABEL = "containers.composefs.fsverity";

/** The ids of a sealed image, all with one hash. */
export interface SealIds {
  readonly algorithm: Algorithm;
  /** The image in the wanted format, without the boot transform: what the label says. */
  readonly label: ObjectId;
  /** Format V1, without and with the boot transform: what the annotations say. */
  readonly merged: ObjectId;
  readonly mergedBootable: ObjectId;
}

/** A document and what describes it. */
export interface SealedDocument {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

type Json = Record<string, unknown>;

/** Size of the blocks that fs-verity hashes, as the annotations have it: 2^12. */
const LOG2_BLOCK = 12;

/**
 * The config with the layer and the label. Labels and history are kept; a history entry is added where there is a history. The
 * time is that of the image, so that the same image gives the same bytes.
 *
 * @param diffId of the added layer
 */
export function sealedConfig(base: Uint8Array, diffId: Digest, ids: SealIds): SealedDocument {
  const config = JSON.parse(Buffer.from(base).toString("utf8")) as Json;
  const rootfs = config["rootfs"] as Json & { diff_ids: Digest[] };
  const inner = (config["config"] ?? {}) as Json;
  const labels = (inner["Labels"] ?? {}) as Json;
  const history = config["history"];
  const { created } = config;
  const entry = { ...(created === undefined ? {} : { created }), created_by: "composefs seal" };
  return document({
    ...config,
    config: { ...inner, Labels: { ...labels, [SEAL_LABEL]: ids.label } },
    rootfs: { ...rootfs, diff_ids: [...rootfs.diff_ids, diffId] },
    ...(Array.isArray(history) ? { history: [...(history as unknown[]), entry] } : {}),
  });
}

/**
 * The manifest with the config, the layers and the annotations. Descriptors of old layers are kept as they are.
 *
 * @param base the raw manifest that the image was made from; OCI, not Docker
 * @param layers replaces the layers where the image is stored in another form; the old ones when left out
 */
export function sealedManifest(
  base: Uint8Array,
  config: SealedDocument,
  layer: Descriptor,
  ids: SealIds,
  layers?: readonly Descriptor[],
): SealedDocument {
  const manifest = JSON.parse(Buffer.from(base).toString("utf8")) as Json;
  const { algorithm } = ids;
  const suffix = `fsverity-${algorithm}-${LOG2_BLOCK}`;
  const old = manifest["annotations"] as Json | null | undefined;
  const oldConfig = manifest["config"] as Json;
  return document({
    ...manifest,
    config: {
      ...oldConfig,
      digest: config.digest,
      size: config.bytes.length,
      annotations: {
        ...(oldConfig["annotations"] as Json | null | undefined),
        [`composefs.config.${suffix}`]: fsverityDigest(algorithm, config.bytes),
      },
    },
    layers: [...(layers ?? (manifest["layers"] as unknown[])), layer],
    annotations: {
      ...old,
      [`composefs.merged.erofs.v1.${suffix}`]: ids.merged,
      [`composefs.merged.bootable.erofs.v1.${suffix}`]: ids.mergedBootable,
    },
  });
}

/** A config for a root directory that is no image yet. */
export function newConfig(architecture: string, os: string, diffId: Digest): SealedDocument {
  return document({ architecture, os, config: {}, rootfs: { type: "layers", diff_ids: [diffId] } });
}

/** A manifest for it. */
export function newManifest(config: SealedDocument, layer: Descriptor): SealedDocument {
  return document({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: MEDIA_TYPE.ociConfig, digest: config.digest, size: config.bytes.length },
    layers: [{ mediaType: layer.mediaType, digest: layer.digest, size: layer.size }],
  });
}

const MAX_BYTES = 4 << 20;

function document(value: Json): SealedDocument {
  const bytes = Buffer.from(JSON.stringify(value));
  if (bytes.length > MAX_BYTES) {
    throw new ComposefsError(
      "limit",
      `the sealed image would have a document of ${bytes.length} bytes; 4 MiB is the limit`,
    );
  }
  return { bytes, digest: contentDigest(bytes) };
}
