// From an image index down to one manifest (docs/spec/oci.md, section 2.4, the NEW rule): nested indexes are followed,
// entries of unknown type skipped, and the platform decides. The same for layouts, archives and registries.

import { ComposefsError } from "../../error.ts";
import { parseImageConfig } from "../config.ts";
import {
  mediaTypeKind,
  MEDIA_TYPE,
  parseIndex,
  parseManifest,
  type Descriptor,
  type DocumentKind,
  type Index,
} from "../manifest.ts";
import { chooseCandidate, formatPlatform, hostPlatform, type Candidate, type Platform } from "../platform.ts";
import { readDocument } from "./document.ts";
import type { ImageSource, ResolvedManifest, ResolveOptions } from "./source.ts";

/** The annotation by which a layout names its images. */
export const REF_NAME = "org.opencontainers.image.ref.name";

/** Indexes inside indexes, at most. */
const MAX_NESTING = 4;

/** Entries looked at in all, so that a hostile index cannot make us read for ever. */
const MAX_ENTRIES = 1000;

interface Entry extends Candidate {
  readonly descriptor: Descriptor;
}

interface Search {
  readonly source: Pick<ImageSource, "blob">;
  readonly signal: AbortSignal | undefined;
  readonly visited: Set<string>;
  readonly entries: Entry[];
  readonly skipped: string[];
}

/**
 * Chooses a manifest from the entries of an index and reads it.
 *
 * @param where what the index belongs to, for messages, as in `the layout /images/os`
 * @throws ComposefsError `not-found` when nothing serves the platform, `invalid` when several images match
 */
export async function chooseManifest(
  source: Pick<ImageSource, "blob">,
  index: Index,
  where: string,
  options: ResolveOptions = {},
): Promise<ResolvedManifest> {
  const search: Search = { source, signal: options.signal, visited: new Set(), entries: [], skipped: [] };
  await collect(search, index.manifests, undefined, 1);
  const wanted = options.platform ?? hostPlatform();
  const entries = await withPlatforms(search);
  options.onOffer?.(platformsOf(entries));
  const choice = chooseCandidate(entries, wanted);
  if (choice.kind === "ambiguous") {
    throw new ComposefsError("invalid", `${where} holds several images: ${choice.names.join(", ")}`, {
      hint: "name one of them after the path, as in oci:DIR:TAG",
    });
  }
  if (choice.kind === "none") throw nothingFound(where, wanted, choice.available, search.skipped);
  const { descriptor } = choice.candidate;
  const bytes = await readDocument(source, descriptor, "the manifest", options.signal);
  return { bytes, digest: descriptor.digest, mediaType: descriptor.mediaType };
}

/** Each platform once. Attestations say `unknown/unknown`, artifacts nothing. */
function platformsOf(entries: readonly Entry[]): Platform[] {
  const known = new Map<string, Platform>();
  for (const { platform } of entries)
    if (platform !== undefined && platform.os !== "unknown" && platform.architecture !== "unknown")
      known.set(formatPlatform(platform), platform);
  return [...known.values()];
}

function nothingFound(where: string, wanted: Platform, available: string[], skipped: string[]): ComposefsError {
  const listed = available.slice(0, 10).join(", ") + (available.length > 10 ? ", ..." : "");
  const others = [...new Set(skipped)].slice(0, 5).join(", ");
  const offers = listed === "" ? "nothing that is an image" : listed;
  const hint =
    available.length > 0
      ? "choose another one with --platform OS/ARCH[/VARIANT]"
      : "check that this is the image that you mean";
  return new ComposefsError(
    "not-found",
    `${where} has no image for ${formatPlatform(wanted)}; it has ${offers}${others === "" ? "" : ` (not understood: ${others})`}`,
    { hint },
  );
}

async function collect(
  search: Search,
  descriptors: readonly Descriptor[],
  outerName: string | undefined,
  depth: number,
): Promise<void> {
  for (const descriptor of descriptors) {
    const name = outerName ?? descriptor.annotations?.[REF_NAME];
    const kind = mediaTypeKind(descriptor.mediaType);
    if (kind === "unknown") {
      search.skipped.push(descriptor.mediaType);
    } else if (kind === "manifest") {
      if (search.entries.length >= MAX_ENTRIES) {
        throw new ComposefsError("limit", `the image index has more than ${MAX_ENTRIES} entries`);
      }
      search.entries.push({ platform: descriptor.platform, digest: descriptor.digest, name, descriptor });
    } else {
      await collectNested(search, descriptor, name, depth);
    }
  }
}

async function collectNested(
  search: Search,
  descriptor: Descriptor,
  name: string | undefined,
  depth: number,
): Promise<void> {
  // The same index under two names is read twice, inside itself never.
  const key = `${name ?? ""}\0${descriptor.digest}`;
  if (search.visited.has(key)) return;
  search.visited.add(key);
  if (depth >= MAX_NESTING) {
    throw new ComposefsError("limit", `image indexes are nested more than ${MAX_NESTING} levels deep`, {
      digest: descriptor.digest,
    });
  }
  const what = "the image index";
  const bytes = await readDocument(search.source, descriptor, what, search.signal);
  await collect(search, parseIndex(bytes, `${what} ${descriptor.digest}`).manifests, name, depth + 1);
}

/** Completes the entries that do not say their platform from their configs; artifacts stay without. */
async function withPlatforms(search: Search): Promise<Entry[]> {
  const completed: Entry[] = [];
  for (const entry of search.entries) {
    const platform = entry.platform ?? (await configPlatform(search, entry.descriptor));
    completed.push({ ...entry, platform });
  }
  return completed;
}

async function configPlatform(search: Search, descriptor: Descriptor): Promise<Platform | undefined> {
  const bytes = await readDocument(search.source, descriptor, "the manifest", search.signal);
  const { config } = parseManifest(bytes, `the manifest ${descriptor.digest}`);
  if (config.mediaType !== MEDIA_TYPE.ociConfig && config.mediaType !== MEDIA_TYPE.dockerConfig) return undefined;
  const text = await readDocument(search.source, config, "the config", search.signal);
  const { os, architecture, variant } = parseImageConfig(text, `the config ${config.digest}`);
  return { os, architecture, variant };
}

/** Tells a manifest from an index where the media type says neither: by the body's own type, then by its keys. */
export function documentKind(bytes: Uint8Array, mediaType: string | undefined): DocumentKind {
  const kind = mediaTypeKind(mediaType);
  if (kind !== "unknown") return kind;
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
  } catch {
    return "unknown";
  }
  if (typeof document !== "object" || document === null) return "unknown";
  const own = "mediaType" in document && typeof document.mediaType === "string" ? document.mediaType : undefined;
  const ownKind = mediaTypeKind(own);
  if (ownKind !== "unknown") return ownKind;
  if ("manifests" in document) return "index";
  return "config" in document && "layers" in document ? "manifest" : "unknown";
}
