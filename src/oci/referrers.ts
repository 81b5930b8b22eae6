// The referrer index: which manifests name another one as their subject (docs/spec/oci.md, section 11).

import type { Repository } from "../repository/repository.ts";
import type { Digest } from "./digest.ts";
import { manifestStream } from "./streams.ts";
import { decodeTag, encodeTag } from "./tag-name.ts";

const PREFIX = "oci-referrers";

/** Name below `streams/refs` of the entry of an artifact. */
export function referrerRef(subject: Digest, artifact: Digest): string {
  return `${PREFIX}/${encodeTag(subject)}/${encodeTag(artifact)}`;
}

/** Digests of the manifests that refer to the subject, sorted. Entries that point elsewhere do not count. */
export function referrersOf(repository: Repository, subject: Digest): Digest[] {
  const prefix = `${PREFIX}/${encodeTag(subject)}`;
  const digests: Digest[] = [];
  for (const { name, target } of repository.refs("streams", prefix)) {
    const digest = decodeTag(name);
    if (target === manifestStream(digest)) digests.push(digest);
  }
  return digests.toSorted();
}
