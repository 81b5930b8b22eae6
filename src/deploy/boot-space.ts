// Room for what a deployment boots with (docs/spec/deployments.md, section 4.2): an ESP is small, and a kernel that does not fit must be
// refused before anything is written. What a collection of boot files would free counts, and is freed when it is needed.

import type { BootStep, BootVolumeName } from "../boot/change/steps.ts";
import type { BootVolume } from "../boot/change/volume.ts";
import { kernelParent } from "../boot/install/plan.ts";
import { UKI_DIRECTORY } from "../boot/entry/names.ts";
import { fileSize } from "../boot/tree-file.ts";
import { ComposefsError } from "../error.ts";
import { deployGc } from "./collect.ts";
import { freeSpace } from "./free-space.ts";
import { planDeployGc } from "./gc.ts";
import { readBootBinaries } from "./gc-read.ts";
import type { OpenSysroot } from "./open-sysroot.ts";

/** Room on a file system for the rest of the last cluster of a file and for its name. */
const FILE_OVERHEAD = 1 << 16;

/** Which files must go before those of a plan fit; undefined when all is well. */
export interface MissingRoom {
  readonly collect: true;
}

/**
 * Checks that the files of a plan fit, as soon as what is staged and what nothing boots is gone. Writes nothing.
 *
 * @returns what must be done before they fit
 * @throws ComposefsError `no-space` with the reason `E_NO_SPACE` and the path of the volume
 */
export async function checkRoom(sysroot: OpenSysroot, files: readonly BootStep[]): Promise<MissingRoom | undefined> {
  let missing: MissingRoom | undefined;
  for (const [on, needed] of neededRoom(sysroot, files)) {
    const volume = sysroot.volumes[on];
    if (volume === undefined) continue;
    const free = freeSpace(volume.root);
    if (needed <= free) continue;
    const collectable = await collectableBytes(sysroot, on, volume);
    if (needed > free + collectable)
      throw new ComposefsError(
        "no-space",
        `what the deployment boots with needs ${needed} bytes on ${volume.root}: ${free} are free, and a collection frees ${collectable} more`,
        {
          path: volume.root,
          reason: "E_NO_SPACE",
          hint: "delete a deployment that is not needed, or make the file system larger; nothing was changed",
        },
      );
    missing = { collect: true };
  }
  return missing;
}

/** Removes boot files that nothing boots, if that is what {@link checkRoom} found to be necessary. Staged entries must be gone. */
export async function makeRoom(sysroot: OpenSysroot, missing: MissingRoom | undefined): Promise<void> {
  if (missing) await deployGc(sysroot, { pruneRepository: false, allowEmpty: true });
}

// What is there already with the right size is kept, or written over in the end.
function neededRoom({ volumes }: OpenSysroot, files: readonly BootStep[]): Map<BootVolumeName, number> {
  const needed = new Map<BootVolumeName, number>();
  for (const step of files) {
    if (step.do !== "copy") continue;
    const size = fileSize(step.file);
    if (sizeOf(volumes[step.on], step.path) === size) continue;
    needed.set(step.on, (needed.get(step.on) ?? 0) + size + FILE_OVERHEAD);
  }
  return needed;
}

function sizeOf(volume: BootVolume | undefined, path: string): number | undefined {
  try {
    using file = volume?.open(path);
    return file?.size;
  } catch {
    // Whatever it is, it is not the file.
    return undefined;
  }
}

async function collectableBytes(sysroot: OpenSysroot, on: BootVolumeName, volume: BootVolume): Promise<number> {
  const { location } = sysroot;
  const { bootloader } = location;
  const state = await sysroot.readState();
  const unstaged = { ...state, boot: { ...state.boot, entriesStaged: undefined, userCfgStaged: undefined } };
  const files = readBootBinaries(location, bootloader);
  const repository = { tags: new Map(), manifests: new Map(), images: new Set<string>() };
  const options = { pruneRepository: false, allowEmpty: true };
  const { plan } = planDeployGc(unstaged, files, repository, options);
  const holdsKernels = (bootloader === "grub") === (on === "boot");
  return plan.removeBootBinaries
    .flatMap((name) => [
      ...(holdsKernels ? [`${kernelParent(bootloader)}${name}`] : []),
      ...(on === "esp" || bootloader !== "grub" ? [`${UKI_DIRECTORY}/${name}`] : []),
    ])
    .reduce((sum, path) => sum + treeSize(volume, path), 0);
}

function treeSize(volume: BootVolume, path: string): number {
  let entries: ReturnType<BootVolume["list"]>;
  try {
    entries = volume.list(path);
  } catch {
    return sizeOf(volume, path) ?? 0;
  }
  return (entries ?? []).reduce(
    (sum, { name, type }) => sum + (type === "file" ? (sizeOf(volume, `${path}/${name}`) ?? 0) : 0),
    0,
  );
}
