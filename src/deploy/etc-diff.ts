// What was changed in the `/etc` of a deployment (docs/spec/deployments.md, sections 5 and 6): the plan of a merge, carried out nowhere.

import { join } from "node:path";
import { ComposefsError } from "../error.ts";
import { readTree } from "../image/read.ts";
import { withStoredImage } from "../repository/image-file.ts";
import type { Repository } from "../repository/repository.ts";
import { Directory, NO_XATTRS } from "../tree/node.ts";
import { scanDirectory } from "../tree/scan/scan.ts";
import { type EtcMerge, mergeEtc } from "./etc-merge.ts";
import type { SysrootLocation } from "./location.ts";
import type { SysrootState } from "./state.ts";
import { type BaseOption, baseDeployment, deploymentNotFound } from "./update.ts";

/** Options of {@link etcDiff}. */
export interface EtcDiffOptions extends BaseOption {
  /** Id of the deployment whose image a merge would go to; that of the base when left out, with which nothing can conflict. */
  readonly next?: string | undefined;
  /** Whether owners and the attributes `security.*` and `trusted.*` count; true for root when left out. */
  readonly owners?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares the current `/etc` with that of the image it began as.
 *
 * @throws ComposefsError with the reason `E_DEPLOYMENT_NOT_FOUND`, `E_BOOTED_NOT_FOUND` or `E_GRUB_CFG`; `not-found` for an image or a
 *   directory
 */
export async function etcDiff(
  location: SysrootLocation,
  state: SysrootState,
  repository: Repository,
  options: EtcDiffOptions = {},
): Promise<EtcMerge> {
  const base = baseDeployment(state, options);
  if (!base)
    throw new ComposefsError("not-found", "there is no deployment whose /etc could be compared", {
      reason: "E_BOOTED_NOT_FOUND",
      hint: "say with --base which one is meant",
    });
  if (options.next !== undefined && !state.state.has(options.next)) throw deploymentNotFound(options.next);
  const current = location.etc ?? join(location.sysroot, "state/deploy", base.id, "etc");
  const { signal, owners = process.getuid?.() === 0 } = options;
  const scan = { algorithms: [repository.algorithm], xattrs: true, signal };
  const { root } = await scanDirectory(current, scan);
  const pristine = imageEtc(repository, base.id);
  const next = options.next === undefined ? pristine : imageEtc(repository, options.next);
  return mergeEtc(pristine, root, next, { owners });
}

/** The `/etc` of an image; empty when it has none. @throws ComposefsError `not-found` for the image, `corrupt` when it is damaged */
export function imageEtc(repository: Repository, id: string): Directory {
  const root = withStoredImage(repository.store, repository.resolveImage(id).id, readTree);
  const etc = root.entries.get("etc");
  if (etc instanceof Directory) return etc;
  return new Directory({ mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS });
}
