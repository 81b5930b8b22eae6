// The application images that an image of a system is bound to (docs/spec/deployments.md, section 7): links in
// usr/lib/bootc/bound-images.d to units of podman, each of which names one.

import { repositoryBodies } from "../../boot/boot-directory.ts";
import { followPath } from "../../boot/selinux/follow.ts";
import { findDirectory, readText, regularFile } from "../../boot/tree-file.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import type { Repository } from "../../repository/repository.ts";
import { storedTree } from "../../repository/stored-tree.ts";
import { Directory } from "../../tree/node.ts";

const BOUND_IMAGES = "usr/lib/bootc/bound-images.d";
const UNIT_LIMIT = 1 << 20;
const SECTIONS: Readonly<Record<string, string>> = { ".image": "Image", ".container": "Container" };

/**
 * The names of the images that a boot image is bound to.
 *
 * @param id of the boot image
 * @throws ComposefsError `invalid` for what is no link to a unit that names an image; `not-found` and `corrupt` for the boot image
 */
export async function boundImages(repository: Repository, id: string): Promise<string[]> {
  const root = storedTree(repository, id);
  const names: string[] = [];
  for (const [name, node] of findDirectory(root, BOUND_IMAGES)?.entries ?? []) {
    const path = `${BOUND_IMAGES}/${name}`;
    const extension = /\.[a-z]+$/.exec(name)?.[0] ?? "";
    const section = SECTIONS[extension];
    if (section === undefined || node instanceof Directory || node.content.kind !== "symlink")
      throw invalid(path, "is no symbolic link that ends in .image or .container");
    const found = followPath(root, path);
    const text = await readText(
      regularFile(found?.node, found?.path ?? path),
      repositoryBodies(repository),
      UNIT_LIMIT,
    );
    names.push(imageOfUnit(text, section, path));
  }
  return names;
}

function imageOfUnit(text: string, section: string, path: string): string {
  let current = "";
  let image: string | undefined;
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (line.startsWith("#") || line.startsWith(";")) continue;
    if (line.startsWith("[")) current = line.slice(1, line.indexOf("]"));
    const [, key, value] = /^([A-Za-z]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (current !== section || key === undefined) continue;
    if (key === "AuthFile") throw invalid(path, "has an AuthFile, which bound images cannot have");
    if (key === "Image") image = value;
  }
  if (image === undefined || image === "" || image.includes("%")) throw invalid(path, `names no image in [${section}]`);
  return image;
}

function invalid(path: string, problem: string): ComposefsError {
  const shown = displayBytes(path);
  return new ComposefsError("invalid", `/${shown} ${problem}`, {
    path: shown,
    hint: "bound images are links to .image or .container files with the key Image; correct the image of the system",
  });
}
