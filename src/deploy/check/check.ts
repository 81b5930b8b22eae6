// `deploy check` (docs/spec/deployments.md, section 4.10): whether every deployment of a sysroot is complete. Reads only.

import { join } from "node:path";
import { ComposefsError, throwIfAborted } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { checkRepository } from "../../repository/fsck/fsck.ts";
import { findingMessage } from "../../repository/fsck/finding.ts";
import type { Repository } from "../../repository/repository.ts";
import { type Deployments, firstOfEach, readDeployments } from "../deployments.ts";
import { planDeployGc } from "../gc.ts";
import { readBootBinaries, readGcRepository } from "../gc-read.ts";
import { gcSteps } from "../gc-steps.ts";
import { findLeftovers } from "../leftovers.ts";
import { locateSysroot, type SysrootLocation, type SysrootPaths } from "../location.ts";
import { withRunning } from "../running.ts";
import type { SysrootState } from "../state.ts";
import { openForReading, type ReadSysrootOptions, readState } from "../sysroot.ts";
import { checkBootDigests, checkBootFiles, checkStateDirectory } from "./files.ts";
import { type CheckFinding, CheckReport } from "./finding.ts";
import { checkImage, checkImageLink, checkTags } from "./images.ts";
import { checkBootType, checkOrder, checkParameter, checkWarnings } from "./menu.ts";

/** Options of {@link checkSysroot}. */
export interface CheckOptions extends ReadSysrootOptions {
  /** Also read every layer, compute every image anew, and check all of the repository. */
  readonly deep?: boolean | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What a check found. */
export interface SysrootCheck {
  /** Whether there is no error; there may be warnings. */
  readonly ok: boolean;
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly CheckFinding[];
}

/**
 * Checks the deployments of a sysroot.
 *
 * @throws ComposefsError what `locateSysroot` throws; `permission` and `io` for what the operating system refuses; `aborted`
 * @example
 * ```ts
 * const { ok, findings } = await checkSysroot({ sysroot: "/mnt" }, { deep: true });
 * if (!ok) console.error(findings);
 * ```
 */
export async function checkSysroot(
  paths: SysrootPaths | SysrootLocation,
  options: CheckOptions = {},
): Promise<SysrootCheck> {
  const location = "isHost" in paths ? paths : locateSysroot(paths);
  const repository = await openForReading(location.repository, options);
  try {
    const report = new CheckReport();
    await check(location, repository, report, options);
    const count = (level: string) => report.findings.filter((finding) => finding.level === level).length;
    const errors = count("error");
    return { ok: errors === 0, errors, warnings: count("warning"), findings: report.findings };
  } finally {
    await repository?.close();
  }
}

async function check(
  location: SysrootLocation,
  repository: Repository | undefined,
  report: CheckReport,
  options: CheckOptions,
): Promise<void> {
  const { signal, deep = false, onProgress } = options;
  const state = await withRunning(await readState(location, repository), repository, location, signal);
  const deployments = readDeployments(state);
  const { menu, staged, booted, rollback, others } = deployments;
  if (menu.syntaxError) report.add("error", "C1", menu.syntaxError.message);
  // A staged set that nothing will activate is only a leftover.
  const entries = [...menu.active.entries, ...((staged && menu.staged?.entries) ?? [])];
  for (const { verity: id } of firstOfEach(entries)) {
    throwIfAborted(signal);
    if (!state.state.has(id)) report.add("error", "C1", "there is a boot entry, but no state directory", { id });
    else checkStateDirectory(id, location, report);
    checkImageLink(id, repository, report);
  }
  for (const entry of entries) {
    checkBootFiles(entry, location, report);
    checkBootType(entry, state, report);
    checkParameter(entry, state, report);
  }
  checkWarnings(deployments.warnings, report);
  checkOrder(deployments, report);
  const all = [booted, staged, rollback, ...others].filter((one) => one !== undefined);
  await checkBootDigests(all, location, report, signal);
  if (repository) for (const one of all) await checkImage(one, repository, report, { deep, signal });
  if (repository) checkTags(repository, report);
  await checkRest(location, state, deployments, repository, report, signal);
  await checkObjects(repository, deep, report, { signal, onProgress });
}

// C8: what a collection would remove.
async function checkRest(
  location: SysrootLocation,
  state: SysrootState,
  { menu }: Deployments,
  repository: Repository | undefined,
  report: CheckReport,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { volume, path } of findLeftovers(location))
    report.add("warning", "C8", "a command that was killed left it", { path: join(volume.root, path) });
  if (menu.syntaxError) return;
  const content = repository
    ? await readGcRepository(repository, signal)
    : { tags: new Map(), manifests: new Map(), images: new Set<string>() };
  try {
    const { plan } = planDeployGc(state, readBootBinaries(location, location.bootloader), content, {
      allowEmpty: true,
    });
    for (const { action, name, reason } of gcSteps(plan)) {
      if (action === "create-tag") continue;
      report.add(
        "warning",
        action === "remove-tag" ? "C6" : "C8",
        `left over (${action.replace("remove-", "")}): ${reason}`,
        {
          ...(name !== "" && { path: name }),
        },
      );
    }
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    if (error.reason === "E_GC_BOOTED_BINARIES") report.add("error", "C2", error.message);
    // A booted deployment without entry has its own finding.
    else if (error.reason !== "E_BOOTED_NOT_FOUND") throw error;
  }
}

// C12: another command's work, unless everything is to be read anyway.
async function checkObjects(
  repository: Repository | undefined,
  deep: boolean,
  report: CheckReport,
  options: Pick<CheckOptions, "signal" | "onProgress">,
): Promise<void> {
  if (!repository) report.add("warning", "C12", "there is no repository");
  else if (!deep) report.add("info", "C12", `objects were not read: composefs fsck --repo ${repository.path} does it`);
  else {
    const { signal, onProgress } = options;
    const { findings, ok } = await checkRepository(repository, {
      ...(signal && { signal }),
      ...(onProgress && { onProgress }),
    });
    if (ok) report.add("info", "C12", "the repository is whole");
    for (const finding of findings)
      if (finding.severity === "error") report.add("error", "C12", findingMessage(finding));
  }
}
