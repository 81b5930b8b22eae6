// The container storage of a sysroot as the garbage collection sees it (docs/spec/deployments.md, sections 4.8 and 7).

import { ComposefsError } from "../../error.ts";
import type { Repository } from "../../repository/repository.ts";
import type { GcFiles } from "../gc-input.ts";
import { readMenu } from "../menu.ts";
import type { SysrootState } from "../state.ts";
import { boundImages } from "./bound-images.ts";
import { ownedImages } from "./owned-storage.ts";

/**
 * What is in the storage, and what deployments are bound to. Nothing of the storage is known, and so nothing is removed from it, when a
 * deployment cannot be asked.
 *
 * @param warn told why
 */
export async function readGcStorage(
  sysroot: string,
  state: SysrootState,
  repository: Repository,
  warn: (message: string) => void,
): Promise<Pick<GcFiles, "containerStorage" | "boundImages">> {
  try {
    const containerStorage = ownedImages(sysroot);
    if (containerStorage === undefined) return {};
    const { active, staged } = readMenu(state);
    const ids = new Set([...active.entries, ...(staged?.entries ?? [])].map(({ verity }) => verity));
    const bound = new Map<string, readonly string[]>();
    for (const id of ids) if (state.state.has(id)) bound.set(id, await boundImages(repository, id));
    return { containerStorage, boundImages: bound };
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    warn(`nothing is removed from the container storage: ${error.message}`);
    return {};
  }
}
