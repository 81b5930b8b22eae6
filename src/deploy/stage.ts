// Staging a deployment (docs/spec/deployments.md, section 4.4): everything that it needs is on the disk before the entry that boots it, and
// the entry before the file that says so. What is active stays as it is.

import { openImageFile } from "../boot/repository-files.ts";
import { carryOut, type StepResult } from "../boot/change/carry-out.ts";
import { removeDurably, writeDurably } from "../boot/change/durable.ts";
import { ComposefsError } from "../error.ts";
import { type BootPlanOptions, checkOneKindOfEntry, planBoot } from "./boot-plan.ts";
import { checkRoom, makeRoom } from "./boot-space.ts";
import type { DeploymentImage } from "./deployment-image.ts";
import { type Deployments, firstOfEach, readDeployments } from "./deployments.ts";
import { type EtcOptions, tryEtcMerge } from "./etc-base.ts";
import type { EtcMerge } from "./etc-merge.ts";
import type { HostImage } from "./image-reference.ts";
import { dropStaging, stageMenu } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { writeMenu } from "./rollback.ts";
import { STAGED_FILE, writeStagedMarker } from "./staged-marker.ts";
import { newOrigin, removeStateDirectory, writeStateDirectory } from "./state-directory.ts";
import type { UpdateBase } from "./update-base.ts";

/** Options of {@link stageDeployment}. */
export interface StageOptions extends EtcOptions, BootPlanOptions {
  /** On a host: stage without making it the default at the next shutdown. */
  readonly downloadOnly?: boolean | undefined;
}

/** What was staged. */
export interface StagedDeployment {
  /** What became of the files that it boots; empty when it shares the kernel of another. */
  readonly files: readonly StepResult[];
  /** The kernel directory or UKI, as the boot loader knows it. */
  readonly sharesKernel: boolean;
  /** The merge of `/etc` as it would be now; undefined without base, and where `/etc` is transient. */
  readonly merge: EtcMerge | undefined;
}

/**
 * Stages a deployment. What was staged before goes.
 *
 * @param base what it inherits from; undefined for nothing
 * @throws ComposefsError with the reason `E_ETC_CONFLICT`, `E_SAME_DEPLOYMENT`, `E_NO_SPACE`, `E_NO_ESP` or `E_ORIGIN_VALUE` before
 *   anything is written
 */
export async function stageDeployment(
  sysroot: OpenSysroot,
  image: DeploymentImage,
  base: UpdateBase | undefined,
  reference: HostImage,
  options: StageOptions = {},
): Promise<StagedDeployment> {
  const { location, repository, volumes, signal, onProgress } = sysroot;
  const deployments = readDeployments(await sysroot.readState());
  checkNotActive(image.id, deployments, location.bootedId);
  const origin = newOrigin(reference, image);
  const merge = base && (await tryEtcMerge(sysroot, base, image, options));
  const boot = await planBoot(sysroot, image, base, options);
  // Without a base something that boots stays in the menu, too.
  const second = base?.entry ?? firstOfEach(deployments.menu.active.entries)[0];
  checkOneKindOfEntry(boot, second ? [second] : [], image.manifest);
  const room = await checkRoom(sysroot, boot.files);
  dropStagedDeployment(sysroot, deployments);
  await makeRoom(sysroot, room);
  const open = (file: Parameters<typeof openImageFile>[1]) => openImageFile(repository, file);
  const files = await carryOut(volumes, boot.files, { open, signal, onProgress });
  await writeStateDirectory(sysroot, image, origin, { ...options, base: base?.id });
  const entries = [{ source: boot.entry }, ...(second ? [second] : [])];
  await stageMenu(sysroot.boot, writeMenu(location.bootloader, entries, image.description.osId), signal);
  await writeMarker(sysroot, image.id, options.downloadOnly ?? false);
  return { files, sharesKernel: boot.files.length === 0, merge };
}

// The state of a deployment that boots is not written anew, whatever its origin looks like.
function checkNotActive(id: string, { menu }: Deployments, bootedId: string | undefined): void {
  if (!menu.active.entries.some(({ verity }) => verity === id)) return;
  const slot = id === bootedId ? "booted" : "other";
  throw new ComposefsError("exists", `the image is that of the deployment ${id}, which is in the menu already`, {
    digest: id,
    reason: "E_SAME_DEPLOYMENT",
    slot,
    hint: `its origin cannot be read; ${slot === "booted" ? "boot another deployment, and delete it" : "delete it first"}`,
  });
}

/** Drops what was staged: the file that says so first, the state last. Harmless when nothing is. */
export function dropStagedDeployment(sysroot: OpenSysroot, { menu, marker }: Deployments): void {
  const { root, run, boot, location } = sysroot;
  if (run) removeDurably(run, STAGED_FILE);
  dropStaging(boot, location.bootloader);
  const active = new Set(menu.active.entries.map(({ verity }) => verity));
  const dropped = [...(menu.staged?.entries.map(({ verity }) => verity) ?? []), ...(marker ? [marker.id] : [])];
  for (const id of new Set(dropped)) if (!active.has(id) && id !== location.bootedId) removeStateDirectory(root, id);
}

/** Writes the file that says what is staged; nothing offline. */
export async function writeMarker({ run, signal }: OpenSysroot, id: string, locked: boolean): Promise<void> {
  if (run) await writeDurably(run, STAGED_FILE, [Buffer.from(writeStagedMarker({ id, locked }))], signal);
}
