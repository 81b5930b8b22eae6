// Pulls an image by way of the container storage of a sysroot (docs/spec/deployments.md, section 7): podman brings it there, where it can
// be run as a container, and the repository shares its files.

import { ComposefsError } from "../../error.ts";
import { pull } from "../../oci/pull.ts";
import type { PullOptions, PullResult } from "../../oci/pull-options.ts";
import { deploymentImageName } from "../image-name.ts";
import { type HostImage, pullReference } from "../image-reference.ts";
import type { OpenSysroot } from "../open-sysroot.ts";
import { type FillOptions, OwnedStorage } from "./podman.ts";

/**
 * Pulls an image through the storage. No file is copied: where that cannot be, the storage is not where it should be.
 *
 * @throws ComposefsError `unsupported` without podman, and with the reason `E_ZERO_COPY`; `io` with what podman said; as `pull`
 */
export async function pullUnified(
  sysroot: OpenSysroot,
  reference: HostImage,
  options: FillOptions & Pick<PullOptions, "tag">,
): Promise<PullResult> {
  const { repository, signal, onProgress } = sysroot;
  using storage = new OwnedStorage(sysroot);
  const name = pullReference(reference);
  onProgress?.({ type: "note", message: `bringing ${name} into the container storage ${storage.root}` });
  const id = await storage.fill(reference, options);
  let pulled: PullResult;
  try {
    pulled = await pull(repository, `containers-storage:${id}`, {
      tag: options.tag,
      storage: { root: storage.root },
      localFetch: "zerocopy",
      signal,
      onProgress,
    });
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.reason !== "E_ZERO_COPY") throw error;
    throw new ComposefsError(error.code, `${name}: ${error.message}`, {
      cause: error,
      reason: error.reason,
      path: storage.root,
      hint: "the storage and the repository must be on one file system that can share files; without --unified nothing is shared",
    });
  }
  await storage.tag(id, deploymentImageName(pulled.manifestDigest));
  return pulled;
}
