// What the last `upgrade --check` found, kept beside the origin of the booted deployment (docs/spec/deployments.md, section 4.4, D26).

import { ComposefsError } from "../error.ts";
import { type ImageConfig, parseImageConfig } from "../oci/config.ts";
import type { Digest } from "../oci/digest.ts";
import { parseJson } from "../oci/json.ts";
import { type Manifest, parseManifest } from "../oci/manifest.ts";
import { type HostImage, originReference, parseHostImage } from "./image-reference.ts";
import { compactJson, memberText } from "./json-text.ts";
import { isManifestDigest } from "./state.ts";

/** An image that was found, but not pulled. */
export interface CachedUpdate {
  /** The reference that was looked at. */
  readonly image: HostImage;
  readonly manifestDigest: Digest;
  readonly documents: { readonly manifest: Manifest; readonly config: ImageConfig };
}

const MEMBERS: ReadonlySet<string> = new Set(["imageReference", "manifestDigest", "manifest", "config"]);

/** Parses an `.update` file. @throws ComposefsError `invalid`; the next check writes the file anew */
export function parseCachedUpdate(text: string, path = "the update file"): CachedUpdate {
  try {
    const { imageReference, manifestDigest } = parseJson(Buffer.from(text), "it", MEMBERS) as Record<string, unknown>;
    const [manifest, config] = [memberText(text, "manifest"), memberText(text, "config")];
    if (typeof imageReference !== "string" || typeof manifestDigest !== "string" || !isManifestDigest(manifestDigest))
      throw new ComposefsError("invalid", "it names no image");
    return {
      image: parseHostImage(imageReference),
      manifestDigest,
      documents: {
        manifest: parseManifest(Buffer.from(manifest ?? ""), "the manifest"),
        config: parseImageConfig(Buffer.from(config ?? ""), "the config"),
      },
    };
  } catch (error) {
    throw new ComposefsError("invalid", `${path}: ${(error as Error).message}`, {
      cause: error,
      path,
      hint: "check for updates again; the file is written anew",
    });
  }
}

/**
 * The text of an `.update` file.
 *
 * @param image the reference that was looked at
 * @param documents manifest and config, as JSON
 */
export function writeCachedUpdate(
  image: HostImage,
  manifestDigest: Digest,
  documents: { readonly manifest: string; readonly config: string },
): string {
  const members = [
    ["imageReference", JSON.stringify(originReference(image))],
    ["manifestDigest", JSON.stringify(manifestDigest)],
    ["manifest", compactJson(documents.manifest)],
    ["config", compactJson(documents.config)],
  ];
  return `{${members.map(([name, value]) => `"${name}":${value}`).join(",")}}\n`;
}
