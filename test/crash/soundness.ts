// What must hold after every kind of interruption: judged by the audit of the fixtures, by fsck of the library, and, now and
// then, by cfsctl.

import { cpSync, existsSync, lstatSync, readdirSync, readlinkSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { pull } from "../../src/oci/pull.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { collectGarbage } from "../../src/repository/gc/collect.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { WrittenLayout } from "../fixtures/layout.ts";
import { type Audit, auditRepository } from "../fixtures/repository-audit.ts";
import { findPeer, runPeer } from "../peer.ts";

/**
 * Opens the repository and looks at all of it.
 *
 * @param unsynced whether data may be lost that no barrier had made durable: then an object that nothing refers to may be
 * damaged, and nothing else
 */
export async function expectSound(path: string, where: string, unsynced = false): Promise<Audit> {
  const audit = auditRepository(path);
  const garbage = unsynced ? await garbageOf(path) : new Set<string>();
  const counts = (text: string) => ![...garbage].some((id) => text.includes(id));
  expect(audit.problems.filter(counts), where).toEqual([]);
  await using repository = await Repository.open(path);
  const { findings } = await checkRepository(repository, { workers: 0 });
  const errors = findings.filter(
    ({ severity, path: file }) => severity === "error" && counts(file.replace(/^objects\/(..)\//, "$1")),
  );
  expect(errors, where).toEqual([]);
  return audit;
}

async function garbageOf(path: string): Promise<Set<string>> {
  await using repository = await Repository.open(path);
  const { plan } = await collectGarbage(repository, { dryRun: true });
  expect(plan.problems).toEqual([]);
  return new Set(plan.objects.map(({ path: file }) => file.replace(/^objects\/(..)\//, "$1")));
}

/** Collects garbage, the next day; afterwards nothing is wrong and nothing temporary is left. */
export async function collect(path: string, where: string): Promise<void> {
  // What a process makes without a lock is left alone while that process may be alive.
  for (const name of readdirSync(path).filter((file) => file.startsWith(".tmp-meta-")))
    utimesSync(join(path, name), 1e9, 1e9);
  {
    await using repository = await Repository.open(path, { write: true });
    await collectGarbage(repository);
  }
  const audit = auditRepository(path);
  expect(audit.problems, `${where}, then gc`).toEqual([]);
  expect(audit.temporary, `${where}, then gc`).toEqual([]);
}

/** Pulls with the library of this process; answers the id of the image. */
export async function pullHere(path: string, image: WrittenLayout, tag: string): Promise<string> {
  await using repository = await Repository.open(path, { write: true });
  const { images } = await pull(repository, image.reference, { tag });
  return images[0]?.id ?? "";
}

/** Everything in a repository by name: directories, links with their targets, files. Object ids stand for contents. */
export function listing(path: string): string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .flatMap((name) => {
      const file = join(path, name);
      const stat = lstatSync(file);
      // An empty directory says nothing: a crash may leave one, and so does a tag that was removed.
      if (stat.isDirectory()) return [];
      return [stat.isSymbolicLink() ? `${name} -> ${readlinkSync(file)}` : name];
    })
    .toSorted();
}

/** The verdict of cfsctl, where it is installed. */
export function expectSoundForPeer(path: string, where: string): void {
  if (findPeer("cfsctl") === undefined) return;
  const fsck = runPeer("cfsctl", ["--insecure", "--repo", path, "fsck"]);
  expect(fsck, `${where}: ${fsck.stdout}${fsck.stderr}`).toMatchObject({ status: 0 });
}

/**
 * The checks after an interruption: the repository is sound, gc works, and the job done again, before or after gc, ends where
 * an undisturbed one does.
 *
 * @param place folder of the interrupted repository; it is used up
 * @param goal {@link listing} of an undisturbed run
 */
export async function expectRecovery(
  place: string,
  again: (repository: string) => Promise<void>,
  goal: readonly string[],
  where: string,
  unsynced = false,
): Promise<void> {
  const repository = join(place, "repository");
  // Without meta.json `init` has not done its work: there is nothing yet that could be damaged.
  if (existsSync(join(repository, "meta.json"))) {
    await expectSound(repository, where, unsynced);
    const collected = `${place}-collected`;
    cpSync(place, collected, { recursive: true, verbatimSymlinks: true });
    await collect(join(collected, "repository"), where);
    await again(join(collected, "repository"));
    expect(listing(join(collected, "repository")), `${where}, then gc, then again`).toEqual(goal);
    rmSync(collected, { recursive: true });
  }
  await again(repository);
  await expectSound(repository, `${where}, then again`, unsynced);
  await collect(repository, `${where}, then again`);
  expect(listing(repository), `${where}, then again, then gc`).toEqual(goal);
}
