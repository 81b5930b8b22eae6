// The commands that the crash tests interrupt: what each starts from and how it is done again.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { objectPath } from "../../src/bytes/algorithm.ts";
import { tagImage, untagImage } from "../../src/oci/tags.ts";
import { createImage } from "../../src/repository/create-image.ts";
import { importImage } from "../../src/repository/import-image.ts";
import { initRepository } from "../../src/repository/init.ts";
import { Repository } from "../../src/repository/repository.ts";
import { composefsOutput } from "../fixtures/composefs.ts";
import { newRepository, pullArguments, pullImage, workFolder } from "./setup.ts";
import { smallImages } from "./small-images.ts";
import { collect, pullHere } from "./soundness.ts";

/** A command on a repository that is called `repository` in a folder of its own. */
export interface Job {
  name: string;
  /** Folder to start from; empty when the job makes the repository. */
  from: string;
  args: (repository: string) => string[];
  /** File that the command reads as its stdin. */
  input?: string;
  /** The same again, by the library; harmless when it was done already. */
  again: (repository: string) => Promise<void>;
  /** Whether the command promises that its result outlasts a power failure. */
  durable: boolean;
}

/** The jobs, and the folder that holds what they start from. */
export interface Jobs extends Disposable {
  folder: string;
  empty: string;
  jobs: ReadonlyMap<JobName, Job>;
}

/** Every job. */
export const JOB_NAMES = [
  "init",
  "pull",
  "second pull",
  "tag",
  "moving tag",
  "untag",
  "gc",
  "create-image",
  "import-image",
] as const;
export type JobName = (typeof JOB_NAMES)[number];

async function opened(path: string, action: (repository: Repository) => Promise<unknown>): Promise<void> {
  await using repository = await Repository.open(path, { write: true });
  await action(repository);
}

/** A copy of a folder with a repository, links and all. */
export function copyFolder(from: string, to: string): void {
  cpSync(from, to, { recursive: true, verbatimSymlinks: true });
}

/** Makes the images and the repositories that the jobs start from. */
export function crashJobs(): Jobs {
  const folder = workFolder();
  try {
    const { one, two } = smallImages(folder);
    const place = (name: string, like?: string) => {
      const path = join(folder, name);
      if (like === undefined) mkdirSync(path);
      else copyFolder(like, path);
      return path;
    };
    const repositoryIn = (parent: string) => join(parent, "repository");

    const nothing = place("nothing");
    const empty = place("empty");
    newRepository(repositoryIn(empty));
    const withOne = place("with-one", empty);
    const oneId = pullImage(repositoryIn(withOne), one, "one");
    const withGarbage = place("with-garbage", withOne);
    const twoId = pullImage(repositoryIn(withGarbage), two, "two");
    const moved = place("moved", withGarbage);
    // The other name keeps the image, so that the goal does not depend on when garbage is collected.
    composefsOutput(["--repo", repositoryIn(moved), "oci", "tag", two.manifestDigest, "kept"]);
    composefsOutput(["--repo", repositoryIn(withGarbage), "oci", "untag", "two"]);
    writeFileSync(join(repositoryIn(withGarbage), "objects/.tmp-object-of-a-killed-writer"), "partial");
    const twoNames = place("two-names", withOne);
    composefsOutput(["--repo", repositoryIn(twoNames), "oci", "tag", one.manifestDigest, "second"]);

    const tree = place("tree");
    mkdirSync(join(tree, "usr"));
    for (const name of ["a", "b"]) writeFileSync(join(tree, "usr", name), name.repeat(5000));
    writeFileSync(join(tree, "usr/inline"), "a few bytes");

    // The image of that tree, made elsewhere, for a repository that has its objects, as those of another image.
    const elsewhere = newRepository(join(folder, "elsewhere"));
    const [, imageId = ""] = composefsOutput(["--repo", elsewhere, "create-image", tree, "one"]).trim().split(":");
    const image = join(folder, "image.erofs");
    cpSync(join(elsewhere, "objects", objectPath(imageId)), image);
    const larger = place("larger-tree", tree);
    writeFileSync(join(larger, "usr/c"), "c".repeat(5000));
    const withObjects = place("with-objects", empty);
    composefsOutput(["--repo", repositoryIn(withObjects), "create-image", larger, "trees/larger"]);

    const tagAgain = (name: string) => (path: string) =>
      opened(path, (repository) => tagImage(repository, one.manifestDigest, name));
    const jobs = new Map<JobName, Omit<Job, "name">>([
      [
        "init",
        {
          from: nothing,
          args: (repository) => ["init", "--insecure", repository],
          again: async (repository) => void (await initRepository(repository, { insecure: true })),
          durable: true,
        },
      ],
      [
        "pull",
        {
          from: empty,
          args: (repository) => pullArguments(repository, one, "one"),
          again: async (repository) => expect(await pullHere(repository, one, "one")).toBe(oneId),
          durable: true,
        },
      ],
      [
        "second pull",
        {
          from: withOne,
          args: (repository) => pullArguments(repository, two, "two"),
          again: async (repository) => expect(await pullHere(repository, two, "two")).toBe(twoId),
          durable: true,
        },
      ],
      [
        "tag",
        {
          from: withOne,
          args: (repository) => ["--repo", repository, "oci", "tag", one.manifestDigest, "another/name:v1"],
          again: tagAgain("another/name:v1"),
          durable: true,
        },
      ],
      [
        "moving tag",
        {
          from: moved,
          args: (repository) => ["--repo", repository, "oci", "tag", one.manifestDigest, "two"],
          again: tagAgain("two"),
          durable: true,
        },
      ],
      [
        "untag",
        {
          from: twoNames,
          args: (repository) => ["--repo", repository, "oci", "untag", "second"],
          again: (path) =>
            opened(path, async (repository) => {
              // Done already, if the cut came after the call that counts.
              if (repository.ref("streams", "oci/second") !== undefined) await untagImage(repository, "second");
            }),
          durable: true,
        },
      ],
      [
        "create-image",
        {
          from: withOne,
          args: (repository) => ["--repo", repository, "create-image", tree, "trees/one"],
          again: (path) => opened(path, (repository) => createImage(repository, tree, { name: "trees/one" })),
          durable: true,
        },
      ],
      [
        "import-image",
        {
          from: withObjects,
          args: (repository) => ["--repo", repository, "import-image", "imported/one"],
          input: image,
          again: (path) => opened(path, (repository) => importImage(repository, "imported/one", [readFileSync(image)])),
          durable: true,
        },
      ],
      [
        "gc",
        {
          from: withGarbage,
          args: (repository) => ["--repo", repository, "gc"],
          again: (repository) => collect(repository, "again"),
          // Garbage that comes back is harmless.
          durable: false,
        },
      ],
    ]);
    return {
      folder,
      empty,
      jobs: new Map([...jobs].map(([name, job]) => [name, { name, ...job }])),
      [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
