// `deploy switch`: another image from now on (docs/spec/deployments.md, section 4.4).

import type { HostImage } from "./image-reference.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { resolveTarget, storedDeploymentId } from "./resolve-target.ts";
import { decideSwitch, type SwitchOptions as SwitchDecisionOptions } from "./update.ts";
import { beginUpdate, runUpdate, type UpdateOptions, type UpdateResult } from "./update-run.ts";

/** Options of {@link switchDeployment}. */
export interface SwitchDeploymentOptions extends UpdateOptions, SwitchDecisionOptions {}

/**
 * Switches a sysroot to another image. Offline it is the default afterwards; on a host it is staged until the machine goes down.
 *
 * @param reference what is followed from now on
 * @throws ComposefsError with the reason `E_SAME_DEPLOYMENT` and `slot`; else as `upgradeDeployment`
 * @example
 * ```ts
 * await using sysroot = await OpenSysroot.open(locateSysroot({ sysroot: "/mnt" }));
 * await switchDeployment(sysroot, { transport: "oci", image: "./image:v2" }, { conflicts: "keep-local" });
 * ```
 */
export async function switchDeployment(
  sysroot: OpenSysroot,
  reference: HostImage,
  options: SwitchDeploymentOptions = {},
): Promise<UpdateResult> {
  const state = await beginUpdate(sysroot, options.dryRun ?? false);
  const decide = (found: { readonly manifest: string; readonly id?: string | undefined }) =>
    decideSwitch(state, reference, found, options);
  // Nothing is fetched for a reference that is followed already.
  const early = decide({ manifest: "" });
  if (early.action !== "pull")
    return runUpdate(sysroot, { state, reference, manifest: "", decide }, early, undefined, options);
  const { digest } = await resolveTarget(sysroot, reference, options);
  const id = await storedDeploymentId(sysroot, digest, state);
  const decision = decide({ manifest: digest, id });
  return runUpdate(sysroot, { state, reference, manifest: digest, decide }, decision, id, options);
}
