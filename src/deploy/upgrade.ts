// `deploy upgrade`: the newest image that the reference of a deployment means (docs/spec/deployments.md, section 4.4). Nothing is written
// before it is decided.

import { writeDurably } from "../boot/change/durable.ts";
import { writeCachedUpdate } from "./cached-update.ts";
import { type LayerDifference, layerDifference } from "./layer-difference.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { resolveTarget, storedDeploymentId } from "./resolve-target.ts";
import { statePath } from "./state-directory.ts";
import {
  baseDeployment,
  decideUpgrade,
  type UpgradeOptions as UpgradeDecisionOptions,
  updateSource,
} from "./update.ts";
import { beginUpdate, runUpdate, unlock, type UpdateOptions, type UpdateResult } from "./update-run.ts";

/** Options of {@link upgradeDeployment}. */
export interface UpgradeDeploymentOptions extends UpdateOptions, UpgradeDecisionOptions {
  /** Takes the place of the tag in the reference, from now on. */
  readonly tag?: string | undefined;
}

/** What an upgrade did, or would do. */
export interface UpgradeResult extends UpdateResult {
  /** With `check` or `dryRun`: how the layers differ from those of the booted deployment, or of the base. */
  readonly layers: LayerDifference | undefined;
}

/**
 * Upgrades a sysroot. Offline the new deployment is the default afterwards; on a host it is staged until the machine goes down.
 *
 * @throws ComposefsError with the reason `E_NO_STAGED`, `E_NO_IMAGE_SOURCE`, `E_BOOTED_NOT_FOUND`, `E_DEPLOYMENT_NOT_FOUND`,
 *   `E_GRUB_CFG`, `E_ETC_CONFLICT`, `E_NO_SPACE`, `E_NO_BOOT_ENTRIES`, `E_UKI_DIGEST`, `E_KARGS_FILE` or `E_FINALIZE_SERVICE`; what was
 *   the default stays it
 * @example
 * ```ts
 * await using sysroot = await OpenSysroot.open(locateSysroot({ sysroot: "/mnt" }));
 * const { decision } = await upgradeDeployment(sysroot);
 * ```
 */
export async function upgradeDeployment(
  sysroot: OpenSysroot,
  options: UpgradeDeploymentOptions = {},
): Promise<UpgradeResult> {
  const { check = false, fromDownloaded = false, dryRun = false } = options;
  const state = await beginUpdate(sysroot, dryRun || check);
  if (fromDownloaded) {
    const decision = decideUpgrade(state, { manifest: "" }, options);
    const unlocked = decision.action === "unlock" && !dryRun ? await unlock(sysroot, state) : { id: undefined };
    return { ...NOTHING, ...unlocked, decision, dryRun };
  }
  const reference = updateSource(state, options);
  const target = await resolveTarget(sysroot, reference, { ...options, config: check });
  const id = await storedDeploymentId(sysroot, target.digest, state);
  const decide = (found: { readonly manifest: string; readonly id?: string | undefined }) =>
    decideUpgrade(state, found, options);
  const decision = decide({ manifest: target.digest, id });
  const subject = { state, reference, manifest: target.digest, decide };
  const base = baseDeployment(state, options);
  const layers = layerDifference(base?.documents?.manifest, target.manifest);
  if (!check) {
    const result = await runUpdate(sysroot, subject, decision, id, options);
    return { ...result, layers: dryRun ? layers : undefined };
  }
  if (base && target.configBytes && !dryRun) {
    const documents = { manifest: text(target.bytes), config: text(target.configBytes) };
    const path = `${statePath(base.id)}/${base.id}.update`;
    const file = writeCachedUpdate(reference, target.digest, documents);
    await writeDurably(sysroot.root, path, [Buffer.from(file)], sysroot.signal);
  }
  return { ...NOTHING, decision, dryRun, reference, manifest: target.digest, id, base: base?.id, layers };
}

const NOTHING = {
  reference: undefined,
  manifest: undefined,
  id: undefined,
  base: undefined,
  staged: undefined,
  planned: undefined,
  finalized: undefined,
  collected: undefined,
  hasStaged: false,
  warnings: [],
  layers: undefined,
} as const;

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
