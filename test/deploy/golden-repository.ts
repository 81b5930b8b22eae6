// Repositories as cases of gc describe them: images pulled, then tagged as the case says, to manifests that are missing as well.

import { cpSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { pull } from "../../src/oci/pull.ts";
import { encodeTag } from "../../src/oci/tag-name.ts";
import { Repository } from "../../src/repository/repository.ts";
import { goldensDir } from "../goldens-dir.ts";
import { type DeployCase, deployCases } from "./deploy-goldens.ts";
import type { GoldenState } from "./golden-state.ts";

/** The input of a case of gc. */
export interface GcInput extends GoldenState {
  readonly pruneRepo: boolean;
  readonly allowEmpty?: boolean;
  readonly pruneBootEntries?: boolean;
  readonly repo: {
    readonly tags: Record<string, string>;
    readonly manifests: Record<string, { readonly name: string; readonly refs: Record<string, string> }>;
    readonly images: string[];
  };
}

/** What a case of gc expects. */
export interface GcExpected {
  readonly error?: string;
  readonly warnings?: unknown[];
  readonly plan?: {
    readonly createTags: [string, string][];
    readonly removeTags: string[];
    readonly additionalRoots: string[];
    readonly removeStateDirs: string[];
    readonly removeBootBinaries: string[];
    readonly repoAfter?: { readonly manifests: string[]; readonly images: string[] };
  };
}

/** Cases whose repository is the one that pulls make: in some, images are there without their manifests. */
export function casesWithRepository(): DeployCase<GcInput, GcExpected>[] {
  return deployCases<GcInput, GcExpected>("gc").filter(({ input }) => {
    const referred = new Set(Object.values(input.repo.manifests).flatMap(({ refs }) => Object.values(refs)));
    return input.repo.images.every((id) => referred.has(id));
  });
}

/** Makes repositories below a directory; the images of each set are pulled once. */
export class GoldenRepositories {
  readonly #work: string;
  readonly #bases = new Map<string, Promise<string>>();

  constructor(work: string) {
    this.#work = work;
  }

  /** Makes the repository of a case at a path. */
  async make(path: string, { repo }: GcInput): Promise<void> {
    const names = Object.values(repo.manifests).map(({ name }) => name);
    cpSync(await this.#base(names), path, { recursive: true, verbatimSymlinks: true });
    for (const [tag, manifest] of Object.entries(repo.tags)) setTag(path, tag, manifest);
  }

  #base(names: string[]): Promise<string> {
    const key = names.sort().join();
    const made = this.#bases.get(key) ?? makeBase(join(this.#work, `base-${this.#bases.size}`), names);
    this.#bases.set(key, made);
    return made;
  }
}

/** Makes a tag, whatever it leads to. */
export function setTag(repository: string, tag: string, manifest: string): void {
  symlinkSync(`../../oci-manifest-${manifest}`, join(repository, "streams/refs/oci", encodeTag(tag)));
}

async function makeBase(path: string, names: string[]): Promise<string> {
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  for (const name of names) {
    const source = `oci:${join(goldensDir("deploy"), "oci")}:${name}`;
    await pull(repository, source, { tag: name, bootable: name.startsWith("host") });
    unlinkSync(join(path, "streams/refs/oci", name));
  }
  return path;
}
