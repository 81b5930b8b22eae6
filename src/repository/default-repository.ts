// The repository of whoever names none (docs/spec/repository.md, sections 3 and 4): found, or made by a first pull.

import { existsSync } from "node:fs";
import { ComposefsError } from "../error.ts";
import type { InitOptions, InitResult } from "./init.ts";
import { type RepositorySelection, repositoryPath, SYSTEM_REPOSITORY, userRepository } from "./location.ts";

/**
 * Like {@link repositoryPath}, except that root on a machine without a system repository has a user repository too:
 * in a container or on a build machine there is no /sysroot.
 */
export function defaultRepositoryPath(selection: RepositorySelection = {}): string {
  const path = repositoryPath(selection);
  const chosen = selection.path !== undefined || selection.user === true || selection.system === true;
  return !chosen && path === SYSTEM_REPOSITORY && !existsSync(path) ? userRepository() : path;
}

/**
 * Makes a repository where there is none, requiring fs-verity where the file system has it; one that is there is left as
 * it is.
 *
 * @param path usually {@link defaultRepositoryPath}'s
 */
export async function ensureDefaultRepository(
  path: string,
  options: Omit<InitOptions, "insecure" | "ensure"> = {},
): Promise<InitResult> {
  const { initRepository } = await import("./init.ts");
  try {
    return await initRepository(path, { ...options, ensure: true });
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code !== "unsupported") throw error;
    return initRepository(path, { ...options, ensure: true, insecure: true });
  }
}
