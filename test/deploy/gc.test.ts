// The plan of a garbage collection against the goldens, and what must hold for any sysroot.

import { type Arbitrary, array, assert, boolean, constantFrom, property, record, subarray } from "fast-check";
import { expect, test } from "vitest";
import { ownedTag, ownedTagDigest, type PlannedGc, planDeployGc } from "../../src/deploy/gc.ts";
import type { GcFiles, GcRepository, StorageImage, StoredManifest } from "../../src/deploy/gc-input.ts";
import { gcSteps } from "../../src/deploy/gc-steps.ts";
import type { NamedText, SysrootState } from "../../src/deploy/state.ts";
import { deployCases, outcome } from "./deploy-goldens.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

interface GoldenManifest {
  readonly name: string;
  readonly configDigest: string;
  readonly layers: string[];
  readonly refs: Record<string, string>;
}

interface GcInput extends GoldenState {
  readonly pruneRepo: boolean;
  readonly allowEmpty?: boolean;
  readonly pruneBootEntries?: boolean;
  readonly boot: GoldenState["boot"] & { readonly type1Dirs?: string[]; readonly ukiFiles?: string[] };
  readonly repo: {
    readonly tags: Record<string, string>;
    readonly manifests: Record<string, GoldenManifest>;
    readonly images: string[];
  };
  readonly containersStorage?: StorageImage[];
  readonly boundImages?: Record<string, string[]>;
}

function planOf(input: GcInput): PlannedGc {
  const files: GcFiles = {
    kernelDirectories: input.boot.type1Dirs ?? [],
    ukiFiles: input.boot.ukiFiles ?? [],
    containerStorage: input.containersStorage,
    boundImages: new Map(Object.entries(input.boundImages ?? {})),
  };
  const repository: GcRepository = {
    tags: new Map(Object.entries(input.repo.tags)),
    manifests: new Map(
      Object.entries(input.repo.manifests).map(([digest, { configDigest, layers, refs }]): [string, StoredManifest] => [
        digest,
        { config: configDigest, layers, images: Object.values(refs) },
      ]),
    ),
    images: new Set(input.repo.images),
  };
  return planDeployGc(sysrootState(input), files, repository, {
    pruneRepository: input.pruneRepo,
    pruneBootEntries: input.pruneBootEntries,
    allowEmpty: input.allowEmpty,
  });
}

test.each(deployCases<GcInput>("gc"))("golden: $name", ({ input, expect: expected }) => {
  expect(outcome(() => planOf(input))).toEqual(expected);
});

const IDS = ["a", "b", "c", "d"];
const digestOf = (id: string) => `sha256:${id.repeat(64)}`;
const APP = digestOf("e");

interface Sysroot {
  readonly active: string[];
  readonly staged: string[];
  readonly hasStaged: boolean;
  readonly booted: string | undefined;
  readonly marker: string | undefined;
  readonly directories: string[];
  readonly origins: string[];
  readonly digests: string[];
  readonly stored: string[];
  readonly tagged: string[];
  readonly kernels: string[];
  readonly foreignTags: string[];
  readonly extraEntry: string[];
}

/** A sysroot in any state, consistent or not, of four deployments. */
const sysroot: Arbitrary<Sysroot> = record({
  active: subarray(IDS),
  staged: subarray(IDS),
  hasStaged: boolean(),
  booted: constantFrom(...IDS, undefined),
  marker: constantFrom(...IDS, "{", undefined),
  directories: subarray(IDS),
  origins: subarray(IDS),
  digests: subarray(IDS),
  stored: subarray(IDS),
  tagged: subarray(IDS),
  kernels: subarray([...IDS, "x"]),
  foreignTags: subarray(["localhost/bootc-derived:latest", "app:1", `localhost/bootc-${digestOf("A")}`]),
  extraEntry: array(
    constantFrom("version 1\nlinux /vmlinuz\n", "options composefs=a\n", "linux /bootc_composefs-b/k"),
    {
      maxLength: 2,
    },
  ),
});

interface Model {
  readonly state: SysrootState;
  readonly files: GcFiles;
  readonly repository: GcRepository;
}

function modelOf(is: Sysroot): Model {
  const entry = (id: string): NamedText => [
    `bootc_os-1-${id}.conf`,
    `version 1\nlinux /bootc_composefs-${id}/vmlinuz\noptions composefs=${id}\n`,
  ];
  const origin = (id: string) =>
    `[origin]\ncontainer-image-reference = ostree-unverified-registry:q.x/${id}\n${is.digests.includes(id) ? `[image]\nmanifest_digest = ${digestOf(id)}\n` : ""}`;
  return {
    state: {
      bootloader: "grub",
      missingVerityAllowed: false,
      bootedId: is.booted,
      boot: {
        entries: [...is.active.map(entry), ...is.extraEntry.map((text, index): NamedText => [`x${index}.conf`, text])],
        entriesStaged: is.hasStaged ? is.staged.map(entry) : undefined,
      },
      stagedDeployment:
        is.marker === undefined || is.marker === "{"
          ? is.marker
          : JSON.stringify({ depl_id: is.marker, finalization_locked: false }),
      state: new Map(is.directories.map((id) => [id, { origin: is.origins.includes(id) ? origin(id) : undefined }])),
      images: new Map(),
    },
    files: { kernelDirectories: [...is.kernels.map((id) => `bootc_composefs-${id}`), "grub2", "a"], ukiFiles: [] },
    repository: {
      tags: new Map([
        ...is.tagged.map((id): [string, string] => [ownedTag(digestOf(id)), digestOf(id)]),
        ...is.foreignTags.map((tag): [string, string] => [tag, APP]),
      ]),
      manifests: new Map([
        ...is.stored.map((id): [string, StoredManifest] => [digestOf(id), { config: id, layers: [id], images: [id] }]),
        [APP, { config: "app", layers: ["app"], images: ["app"] }],
      ]),
      images: new Set([...IDS, "app"]),
    },
  };
}

function carriedOut({ state, files, repository }: Model, { plan }: PlannedGc): Model {
  const after = plan.repoAfter;
  const { removeStateDirs, removeBootBinaries, removeTags } = plan;
  return {
    state: {
      ...state,
      boot: { ...state.boot, entriesStaged: plan.removeStagedEntriesDir ? undefined : state.boot.entriesStaged },
      stagedDeployment: plan.removeStagedFile ? undefined : state.stagedDeployment,
      state: new Map([...state.state].filter(([id]) => !removeStateDirs.includes(id))),
    },
    files: {
      ...files,
      kernelDirectories: files.kernelDirectories.filter((name) => !removeBootBinaries.includes(name)),
    },
    repository: {
      tags: new Map([...[...repository.tags].filter(([tag]) => !removeTags.includes(tag)), ...plan.createTags]),
      manifests: new Map([...repository.manifests].filter(([digest]) => after?.manifests.includes(digest))),
      images: new Set(after?.images),
    },
  };
}

const plan = ({ state, files, repository }: Model) => outcome(() => planDeployGc(state, files, repository));

test("what boots stays, what is not ours stays, and a second collection has nothing to do", () => {
  let planned = 0;
  assert(
    property(sysroot, (is) => {
      const model = modelOf(is);
      const first = plan(model);
      if ("error" in first) {
        expect(first.error).toMatch(/^E_(BOOTED_NOT_FOUND|GC_NO_ENTRIES|GC_BOOTED_BINARIES)$/);
        return;
      }
      planned++;
      const after = carriedOut(model, first);
      if (is.booted !== undefined) expect(after.state.state.has(is.booted)).toBe(true);
      for (const id of is.active) {
        if (is.directories.includes(id)) {
          expect(after.state.state.has(id)).toBe(true);
          expect(after.repository.images.has(id)).toBe(true);
        }
        if (is.kernels.includes(id)) expect(after.files.kernelDirectories).toContain(`bootc_composefs-${id}`);
      }
      expect(after.files.kernelDirectories).toEqual(expect.arrayContaining(["grub2", "a"]));
      expect([...after.repository.tags.keys()]).toEqual(expect.arrayContaining(is.foreignTags));
      if (is.foreignTags.length > 0) expect(after.repository.manifests.has(APP)).toBe(true);
      for (const target of after.repository.tags.values()) expect(after.repository.manifests.has(target)).toBe(true);
      const second = plan(after);
      if ("error" in second) throw new Error(`second collection: ${second.error}`);
      expect(gcSteps(second.plan)).toEqual([]);
    }),
    { numRuns: 3000 },
  );
  expect(planned).toBeGreaterThan(500);
});

test("only tags of the exact form are ours", () => {
  const hex = "0".repeat(64);
  expect(ownedTagDigest(ownedTag(`sha256:${hex}`))).toBe(`sha256:${hex}`);
  const foreign = [
    "localhost/bootc-",
    `localhost/bootc-${hex}`,
    `localhost/bootc-sha256:${hex.slice(1)}A`,
    `x${ownedTag(`sha256:${hex}`)}`,
  ];
  expect(foreign.map(ownedTagDigest)).toEqual(foreign.map(() => undefined));
});

test("a tag of ours that names another image is set to the one that its deployment needs", () => {
  const is = {
    active: ["a"],
    staged: [],
    hasStaged: false,
    booted: undefined,
    marker: undefined,
    kernels: [],
    foreignTags: [],
    extraEntry: [],
  };
  const model = modelOf({ ...is, directories: ["a"], origins: ["a"], digests: ["a"], stored: ["a"], tagged: [] });
  const tags = new Map([[ownedTag(digestOf("a")), APP]]);
  const planned = plan({ ...model, repository: { ...model.repository, tags } });
  if ("error" in planned) throw new Error(planned.error);
  expect([planned.plan.createTags, planned.plan.removeTags]).toEqual([[[ownedTag(digestOf("a")), digestOf("a")]], []]);
});

test("a plan is told step by step, with reasons", () => {
  const is = {
    active: ["a"],
    staged: ["b"],
    hasStaged: true,
    booted: "a",
    marker: undefined,
    foreignTags: [],
    extraEntry: [],
  };
  const model = modelOf({
    ...is,
    directories: ["a", "b"],
    origins: ["a"],
    digests: ["a"],
    stored: ["a", "b"],
    tagged: ["b"],
    kernels: ["b"],
  });
  const planned = plan(model);
  if ("error" in planned) throw new Error(planned.error);
  expect(gcSteps(planned.plan).map(({ action, name }) => [action, name])).toEqual([
    ["create-tag", ownedTag(digestOf("a"))],
    ["remove-staged-entries", ""],
    ["remove-boot-files", "bootc_composefs-b"],
    ["remove-state", "b"],
    ["remove-tag", ownedTag(digestOf("b"))],
  ]);
  expect(gcSteps(planned.plan).every(({ reason }) => reason !== "")).toBe(true);
});
