// Tags: names of manifests below streams/refs/oci (docs/spec/oci.md, section 6.2 and 8).

import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import { isDigest, type Digest } from "./digest.ts";
import { nearNames } from "./near-names.ts";
import { publish } from "./publish.ts";
import { digestOfStream, manifestStream } from "./streams.ts";
import { checkTag, decodeTag, encodeTag, TAG_PREFIX } from "./tag-name.ts";

/** A tag and the manifest that it points to, which may not exist. */
export interface Tag {
  readonly name: string;
  readonly manifestDigest: Digest;
}

/** All tags, sorted by name. Refs that point to anything but a manifest are not tags. */
export function listTags(repository: Repository): Tag[] {
  const tags: Tag[] = [];
  for (const { name, target } of repository.refs("streams", TAG_PREFIX)) {
    const manifestDigest = digestOfStream(target, "oci-manifest-");
    if (manifestDigest === undefined) continue;
    tags.push({ name: decodeTag(name), manifestDigest });
  }
  return tags.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The manifest that a tag points to; undefined when there is no such tag. */
export function findTag(repository: Repository, name: string): Digest | undefined {
  return findTagRef(repository, name)?.manifestDigest;
}

/** The ref of a tag. Others may have made refs in subdirectories; those are found by the name they are listed under. */
function findTagRef(repository: Repository, name: string): { file: string; manifestDigest: Digest } | undefined {
  const refs = repository.refs("streams", TAG_PREFIX);
  const file = encodeTag(name);
  const ref = refs.find((entry) => entry.name === file) ?? refs.find((entry) => decodeTag(entry.name) === name);
  const manifestDigest = ref === undefined ? undefined : digestOfStream(ref.target, "oci-manifest-");
  return ref === undefined || manifestDigest === undefined ? undefined : { file: ref.name, manifestDigest };
}

/** The error for a tag that does not exist; suggests the names that could have been meant. */
export function unknownTag(repository: Repository, name: string): ComposefsError {
  const tags = listTags(repository).map((tag) => tag.name);
  const near = nearNames(name, tags);
  const few = tags.slice(0, 5).join(", ") + (tags.length > 5 ? ", ..." : "");
  const hint =
    tags.length === 0
      ? "the repository has no images yet; pull one with `composefs oci pull`"
      : near.length > 0
        ? `did you mean ${near.join(" or ")}?`
        : `the repository has ${few}; list them with \`composefs oci images\``;
  return new ComposefsError("not-found", `there is no image ${JSON.stringify(name)} in ${repository.path}`, { hint });
}

/**
 * Tags a manifest that is in the repository. An existing tag is moved.
 *
 * @param manifest its digest, also as `@DIGEST`
 * @throws ComposefsError `not-found` when the manifest is not there, `invalid` for impossible names
 */
export async function tagImage(repository: Repository, manifest: string, name: string): Promise<Tag> {
  repository.checkWritable();
  const file = checkTag(name);
  const digest = manifest.startsWith("@") ? manifest.slice(1) : manifest;
  if (!isDigest(digest)) {
    throw new ComposefsError("invalid", `${JSON.stringify(manifest)} is not a manifest digest`, {
      hint: "`composefs oci images --json` shows the digests",
    });
  }
  const stream = manifestStream(digest);
  if (repository.stream(stream) === undefined) {
    throw new ComposefsError("not-found", `there is no manifest ${digest} in ${repository.path}`, {
      digest,
      hint: "pull the image first; `composefs oci images --json` shows the digests that are there",
    });
  }
  await publish(repository, { images: [], streams: new Map(), refs: new Map([[`${TAG_PREFIX}/${file}`, stream]]) });
  return { name, manifestDigest: digest };
}

/**
 * Removes a tag. What only it kept alive goes at the next garbage collection.
 *
 * @throws ComposefsError `not-found`, suggesting near names
 */
export async function untagImage(repository: Repository, name: string): Promise<void> {
  repository.checkWritable();
  const ref = findTagRef(repository, name);
  if (ref === undefined) throw unknownTag(repository, name);
  repository.removeRef("streams", `${TAG_PREFIX}/${ref.file}`);
  await repository.barrier();
}
