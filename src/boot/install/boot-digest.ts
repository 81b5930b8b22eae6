// The boot digest of a kernel and its initramfs, hex SHA-256 over both (docs/spec/boot.md, section 10.2): of the files of an image and of
// the kernel directories that are there, so that an upgrade can share one.

import { blobHasher } from "../../core/blob-digest.ts";
import { throwIfAborted } from "../../error.ts";
import type { OpenFile } from "../change/carry-out.ts";
import { BOOTC_PREFIX } from "../entry/identity.ts";
import type { BootLoader } from "../entry/order.ts";
import type { BootVolume } from "../change/volume.ts";
import type { DeploymentKernel } from "./deployment.ts";
import { kernelParent } from "./plan.ts";

/** The boot digest of an image's kernel. */
export async function kernelBootDigest(
  { vmlinuz, initrd }: DeploymentKernel,
  open: OpenFile,
  signal?: AbortSignal,
): Promise<string> {
  const hasher = await blobHasher("sha256");
  for (const file of [vmlinuz, initrd]) {
    using opened = open(file);
    update(hasher, opened.chunks(), signal);
  }
  return hasher.digest("hex");
}

/**
 * The boot digests of all kernel directories of deployments, by name. Directories that lack a file or cannot be read are left out: they
 * may be half written.
 */
export async function kernelDirectoryDigests(
  volume: BootVolume,
  loader: BootLoader,
  signal?: AbortSignal,
): Promise<Map<string, string>> {
  const parent = kernelParent(loader);
  const digests = new Map<string, string>();
  for (const { name, type } of volume.list(parent.replace(/\/$/, "")) ?? []) {
    if (type !== "directory" || !name.startsWith(BOOTC_PREFIX)) continue;
    const hasher = await blobHasher("sha256");
    try {
      for (const file of ["vmlinuz", "initrd"]) {
        using opened = volume.open(`${parent}${name}/${file}`);
        if (opened === undefined) throw new Error("half written");
        update(hasher, opened.chunks(), signal);
      }
      digests.set(name, hasher.digest("hex"));
    } catch {
      throwIfAborted(signal);
    }
  }
  return digests;
}

function update(
  hasher: { update(bytes: Uint8Array): unknown },
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
): void {
  for (const chunk of chunks) {
    throwIfAborted(signal);
    hasher.update(chunk);
  }
}
