// Opens the repository that the global options name. A pull into the user's default repository makes it when missing.

import type * as library from "../index.ts";
import type { Context } from "./command.ts";
import { UsageError } from "./failure.ts";

/** What a command needs of the repository. */
export interface RepositoryWish {
  /** Objects, streams or refs will be written. */
  readonly write?: boolean;
  /** Make the user's default repository when there is none. */
  readonly create?: boolean;
}

/** Opens it; the caller disposes it. */
export async function openRepository(context: Context, wish: RepositoryWish = {}): Promise<library.Repository> {
  const { repo, user, system, hash, erofsVersion, requireVerity, noUpgrade, noRepo } = context.global;
  if (noRepo) throw new UsageError("this command needs a repository", "leave --no-repo out");
  const { defaultRepositoryPath, ensureDefaultRepository } = await import("../repository/default-repository.ts");
  const { SYSTEM_REPOSITORY } = await import("../repository/location.ts");
  const { Repository } = await import("../repository/repository.ts");
  const path = defaultRepositoryPath({ ...(repo === undefined ? {} : { path: repo }), user, system });
  const options = {
    ...(wish.write === true ? { write: true } : {}),
    signal: context.signal,
    lock: context.lock(path),
    requireVerity,
    noUpgrade,
    ...(hash === undefined ? {} : { hash }),
    ...(erofsVersion === undefined ? {} : { erofsVersion }),
  };
  if (wish.create === true && repo === undefined && !system && path !== SYSTEM_REPOSITORY) {
    const made = await ensureDefaultRepository(path, {
      ...(hash === undefined ? {} : { algorithm: hash }),
      ...(erofsVersion === undefined ? {} : { erofsVersion }),
    });
    if (made.state === "created") {
      context.note(`made the repository ${path} (${made.algorithm}, ${made.secure ? "with" : "without"} fs-verity)`);
    }
  }
  return Repository.open(path, options);
}
