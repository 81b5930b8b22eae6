// What commands that were killed left unfinished (docs/spec/deployments.md, section 8): temporary files that nobody has changed for an
// hour, and sets of entries that are neither staged nor active.

import { leftOverFiles } from "../boot/change/durable.ts";
import { type BootVolume, DirectoryVolume } from "../boot/change/volume.ts";
import { leftOverSets } from "../boot/entry/activate.ts";
import { binaryDirectories } from "./gc-read.ts";
import type { SysrootLocation } from "./location.ts";

/** Something unfinished. */
export interface Leftover {
  readonly volume: BootVolume;
  /** In the volume. */
  readonly path: string;
}

/** Everything unfinished of a sysroot that is an hour old. @throws ComposefsError for what the operating system refuses */
export function findLeftovers(location: SysrootLocation): Leftover[] {
  const { sysroot, boot, esp, runDirectory, bootloader } = location;
  const { kernels, ukis } = binaryDirectories(location, bootloader);
  const places: [root: string | undefined, directories: (volume: BootVolume) => string[]][] = [
    [boot, () => ["", "loader", "loader/entries", "loader/entries.staged", "grub2"]],
    [esp, () => ["", "loader"]],
    [kernels, (volume) => ["", ...directoriesIn(volume, "")]],
    [ukis, (volume) => ["", ...directoriesIn(volume, "")]],
    [sysroot, (volume) => directoriesIn(volume, "state/deploy")],
    [runDirectory, () => ["composefs"]],
  ];
  const found = new Map<string, Leftover>();
  const add = (volume: BootVolume, paths: readonly string[]) => {
    for (const path of paths) found.set(`${volume.root}/${path}`, { volume, path });
  };
  for (const [root, directories] of places) {
    if (root === undefined) continue;
    const volume = new DirectoryVolume(root);
    for (const directory of directories(volume)) add(volume, leftOverFiles(volume, directory));
  }
  const volume = new DirectoryVolume(boot);
  add(volume, leftOverSets(volume));
  return [...found.values()];
}

// A name that is not UTF-8 cannot be given to the volume; nothing of ours lies there.
function directoriesIn(volume: BootVolume, directory: string): string[] {
  return (volume.list(directory) ?? [])
    .filter(({ name, type }) => type === "directory" && !name.includes("\ufffd"))
    .map(({ name }) => (directory === "" ? name : `${directory}/${name}`));
}
