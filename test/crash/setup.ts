// What the crash tests share: the images, a folder for repositories, an undisturbed pull to compare with.

import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { composefsOutput } from "../fixtures/composefs.ts";
import type { WrittenLayout } from "../fixtures/layout.ts";
import { crashImages } from "./images.ts";

/** A pull that nobody disturbed. */
export interface Undisturbed {
  /** Image id. */
  id: string;
  /** Wall time in milliseconds, start-up included. */
  milliseconds: number;
}

/** Folder, images and reference results; dispose it to remove everything. */
export interface CrashSetup extends Disposable {
  folder: string;
  first: WrittenLayout;
  second: WrittenLayout;
  undisturbed: { first: Undisturbed; second: Undisturbed };
}

/** Makes an empty repository, insecure so that every file system will do. */
export function newRepository(path: string): string {
  composefsOutput(["init", "--insecure", path]);
  return path;
}

/** Pulls to the end; answers the id of the image. */
export function pullImage(repository: string, image: WrittenLayout, tag: string): string {
  const { images } = JSON.parse(composefsOutput([...pullArguments(repository, image, tag), "--json"])) as {
    images: { id: string }[];
  };
  const [made] = images;
  if (made === undefined) throw new Error(`the pull of ${tag} made no image`);
  return made.id;
}

/** The id of the composefs image of a tag, as the repository says it. */
export function imageId(repository: string, tag: string): string {
  const inspected = JSON.parse(composefsOutput(["--repo", repository, "oci", "inspect", tag])) as {
    composefs_erofs: string | null;
  };
  if (inspected.composefs_erofs === null) throw new Error(`${tag} has no image`);
  return inspected.composefs_erofs;
}

/** Arguments of a pull. */
export function pullArguments(repository: string, image: WrittenLayout, tag: string): string[] {
  return ["--repo", repository, "oci", "pull", image.reference, tag];
}

/**
 * A new folder for repositories. Prefers memory to disk: a killed process loses nothing that the kernel has, so the medium
 * does not matter, and barriers cost nothing.
 */
export function workFolder(): string {
  try {
    if (statSync("/dev/shm").isDirectory()) return mkdtempSync("/dev/shm/composefs-crash-");
  } catch {
    // No /dev/shm, or not ours to write.
  }
  return mkdtempSync(join(tmpdir(), "composefs-crash-"));
}

function pullUndisturbed(folder: string, image: WrittenLayout): Undisturbed {
  const repository = newRepository(join(folder, "undisturbed"));
  const start = performance.now();
  const id = pullImage(repository, image, "image");
  const milliseconds = performance.now() - start;
  rmSync(repository, { recursive: true });
  return { id, milliseconds };
}

/** Writes the images and pulls each undisturbed. */
export function crashSetup(): CrashSetup {
  const folder = workFolder();
  try {
    const { first, second } = crashImages(folder);
    return {
      folder,
      first,
      second,
      undisturbed: { first: pullUndisturbed(folder, first), second: pullUndisturbed(folder, second) },
      [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
