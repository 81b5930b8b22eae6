// `oci mount`: the file system of a container image (docs/spec/cli-cfsctl.md, sections 2 and 10).

import type { FormatVersion } from "../core/erofs.ts";
import { ComposefsError } from "../error.ts";
import { type MountedImage, type MountOptions, mountImage } from "../repository/mount.ts";
import type { Repository } from "../repository/repository.ts";
import { imageRefKey } from "./image-refs.ts";
import { openImage } from "./stored-image.ts";

/** How to mount a container image. */
export interface OciMountOptions extends MountOptions {
  /** The boot variant, which has an empty /boot and /sysroot. */
  bootable?: boolean;
}

/**
 * Mounts the file system of a container image that was pulled.
 *
 * @param name tag, `@DIGEST`, `DIGEST` or `TAG@DIGEST`
 * @throws ComposefsError as {@link mountImage}; `unsupported` for an artifact, which has no file system
 */
export async function mountContainer(
  repository: Repository,
  name: string,
  directory: string,
  { bootable = false, ...options }: OciMountOptions = {},
): Promise<MountedImage> {
  const image = await openImage(repository, name);
  if (!image.isContainer)
    throw new ComposefsError("unsupported", `${name} is an artifact and has no file system to mount`);
  const id = repository.formats
    .map((version: FormatVersion) => image.imageRefs.get(imageRefKey({ version, boot: bootable })))
    .find((found) => found !== undefined);
  if (id === undefined)
    throw new ComposefsError(
      "not-found",
      `${name} has no ${bootable ? "boot " : ""}image of format ${repository.formats.join(" or ")}`,
      {
        hint: bootable ? "pull it with --bootable" : "pull it again, or choose another format with --erofs-version",
      },
    );
  return mountImage(repository, id, directory, options);
}
