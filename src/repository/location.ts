// Where the default repositories are (docs/spec/repository.md, section 3).

import { join } from "node:path";
import { ComposefsError } from "../error.ts";

/** The repository of the system. */
export const SYSTEM_REPOSITORY = "/sysroot/composefs";

/** What the caller selected; at most one of them. */
export interface RepositorySelection {
  /** An explicit path. */
  path?: string;
  /** The user's repository. */
  user?: boolean;
  /** The system's repository. */
  system?: boolean;
}

/** The user's repository: `$HOME/.var/lib/composefs`. */
export function userRepository(environment: NodeJS.ProcessEnv = process.env): string {
  const home = environment.HOME;
  if (!home)
    throw new ComposefsError("usage", "the environment variable HOME is not set, so there is no user repository", {
      hint: "name a repository with --repo PATH",
    });
  return join(home, ".var/lib/composefs");
}

/** The path of the selected repository. Without selection: the system's for root, else the user's. */
export function repositoryPath(
  selection: RepositorySelection = {},
  environment: NodeJS.ProcessEnv = process.env,
  uid: number | undefined = process.getuid?.(),
): string {
  const chosen = [selection.path !== undefined, selection.user === true, selection.system === true];
  if (chosen.filter(Boolean).length > 1)
    throw new ComposefsError("usage", "--repo, --user and --system exclude each other");
  if (selection.path !== undefined) return selection.path;
  if (selection.system === true) return SYSTEM_REPOSITORY;
  return selection.user === true || uid !== 0 ? userRepository(environment) : SYSTEM_REPOSITORY;
}
