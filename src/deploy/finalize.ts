// `deploy finalize`: what is staged becomes the default (docs/spec/deployments.md, section 4.5). Local changes of `/etc` are carried over
// first; a run that was cut is finished by another one.

import { join } from "node:path";
import { ComposefsError } from "../error.ts";
import { deployGc } from "./collect.ts";
import { openBaseTree } from "./base-image.ts";
import { type Deployments, readDeployments } from "./deployments.ts";
import { applyEtcMerge, type EtcOptions } from "./etc-base.ts";
import type { EtcMerge } from "./etc-merge.ts";
import { activateMenu } from "./menu-files.ts";
import type { OpenSysroot } from "./open-sysroot.ts";
import { removeUpdated, statePath, syncSysroot } from "./state-directory.ts";
import type { DeployWarning } from "./state.ts";
import { type BaseOption } from "./update.ts";
import { baseEntry } from "./update-base.ts";

/** Options of {@link finalizeDeployment}. */
export interface FinalizeOptions extends EtcOptions, BaseOption {
  /** Find out what would be done, and write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** What finalize did. */
export interface FinalizedDeployment {
  /** `nothing-staged` also after a run that was complete; `download-only`: it must be unlocked first. */
  readonly result: "finalized" | "nothing-staged" | "download-only";
  /** The deployment that is the default now. */
  readonly id: string | undefined;
  /** The one whose `/etc` was merged. */
  readonly base: string | undefined;
  /** Undefined without base, and where `/etc` is transient. */
  readonly merge: EtcMerge | undefined;
  readonly warnings: readonly DeployWarning[];
  /** Why kernels and UKIs that nothing boots were not removed; undefined when all is well. */
  readonly collectFailure: ComposefsError | undefined;
}

/**
 * Makes the staged deployment the default.
 *
 * @throws ComposefsError with the reason `E_ETC_CONFLICT`; nothing was written then, and the old default stays
 */
export async function finalizeDeployment(
  sysroot: OpenSysroot,
  options: FinalizeOptions = {},
): Promise<FinalizedDeployment> {
  const state = await sysroot.readState();
  const deployments = readDeployments(state);
  const { menu, marker, warnings } = deployments;
  if (menu.syntaxError) throw menu.syntaxError;
  const id = stagedId(deployments, state.bootedId !== undefined);
  const nothing = { id: undefined, base: undefined, merge: undefined, warnings, collectFailure: undefined };
  if (id === undefined) return { ...nothing, result: "nothing-staged" };
  if (marker?.locked) return { ...nothing, result: "download-only", id };
  if (!state.state.has(id))
    throw new ComposefsError("not-found", `the staged deployment ${id} has no state directory ${statePath(id)}`, {
      digest: id,
      path: join(sysroot.location.sysroot, statePath(id)),
      hint: "stage it again; the default stays as it is",
    });
  const entry = baseEntry(state, deployments, options);
  // When its entry is the first one already, an activation was cut, and everything else had been done.
  const base =
    entry === undefined || entry.verity === id
      ? undefined
      : { id: entry.verity, tree: openBaseTree(sysroot, entry.verity) };
  const merge = base && (await applyEtcMerge(sysroot, base, id, options));
  const result = { id, base: base?.id, merge, warnings, result: "finalized", collectFailure: undefined } as const;
  if (options.dryRun) return result;
  removeUpdated(sysroot, id);
  syncSysroot(sysroot);
  await activateMenu(sysroot.boot, sysroot.location.bootloader);
  return { ...result, collectFailure: await collectBootFiles(sysroot) };
}

async function collectBootFiles(sysroot: OpenSysroot): Promise<ComposefsError | undefined> {
  try {
    await deployGc(sysroot, { pruneRepository: false });
    return undefined;
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return error;
  }
}

// After a complete run the file still names the deployment, but nothing waits to be activated.
function stagedId({ menu, marker }: Deployments, isHost: boolean): string | undefined {
  const entries = menu.staged?.entries ?? [];
  if (!isHost) return entries[0]?.verity;
  return entries.some(({ verity }) => verity === marker?.id) ? marker?.id : undefined;
}
