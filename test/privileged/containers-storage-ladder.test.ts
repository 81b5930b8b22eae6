// No data is copied out of a container store where that can be done (docs/spec/containers-storage.md, section 8.1): on btrfs and xfs blocks
// are shared, on ext4 files are linked; what may not be done is not done. Measured on file systems of their own.

import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { pull } from "../../src/oci/pull.ts";
import type { PullOptions, PullResult } from "../../src/oci/pull-options.ts";
import type { ProgressEvent } from "../../src/progress.ts";
import { Repository } from "../../src/repository/repository.ts";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { peer, type PeerName, remedyFor, skipOrFail } from "../peer.ts";
import { CONTENT_BYTES, CONTENT_OBJECTS, makeImage, storeIn } from "./podman-stores.ts";
import { describeMounts } from "./privileges.ts";

interface FileSystem {
  readonly name: string;
  readonly make: PeerName;
  readonly options: readonly string[];
  readonly shares: boolean;
}

const FILE_SYSTEMS: readonly FileSystem[] = [
  { name: "btrfs", make: "mkfs.btrfs", options: ["-q"], shares: true },
  { name: "xfs", make: "mkfs.xfs", options: ["-q", "-m", "reflink=1"], shares: true },
  { name: "ext4", make: "mkfs.ext4", options: ["-q"], shares: false },
];
const SIZE = 400 << 20;
/** Metadata, streams, the image: far less than the contents. */
const OVERHEAD = 3 << 20;

for (const fileSystem of FILE_SYSTEMS) {
  const remedy = remedyFor(["podman", fileSystem.make]);
  if (remedy !== undefined) describe(fileSystem.name, () => skipOrFail(remedy));
  else describeMounts(`from a store on ${fileSystem.name}`, () => onFileSystem(fileSystem));
}

function onFileSystem({ name, make, options, shares }: FileSystem): void {
  let work: string;
  let disk: string;
  let reference: PullResult;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), `composefs-ladder-${name}-`));
    disk = join(work, "disk");
    mkdirSync(disk);
    writeFileSync(join(work, "image"), "");
    truncateSync(join(work, "image"), SIZE);
    execFileSync(peer(make), [...options, join(work, "image")]);
    execFileSync("mount", ["-o", "loop", join(work, "image"), disk]);
    makeImage(storeIn(disk), work);
    await using repository = await newRepository(work);
    reference = await fetch(repository, "disabled");
    expect(reference.stats).toMatchObject({ newObjects: CONTENT_OBJECTS, storedBytes: CONTENT_BYTES });
  });
  afterAll(() => {
    // podman mounts its own directory on itself.
    execFileSync("umount", ["-R", disk]);
    rmSync(work, { recursive: true, force: true });
  });

  let count = 0;
  async function newRepository(folder: string): Promise<Repository> {
    const path = join(folder, `repository-${count++}`);
    await Repository.init(path, { insecure: true });
    return Repository.open(path, { write: true });
  }

  function fetch(
    repository: Repository,
    localFetch: "disabled" | "auto" | "zerocopy",
    more: PullOptions = {},
  ): Promise<PullResult> {
    const storage = { root: join(disk, "store") };
    return pull(repository, "containers-storage:os:1", { tag: "os", localFetch, storage, ...more });
  }

  function used(): number {
    execFileSync("sync", ["-f", disk]);
    const { blocks, bfree, bsize } = statfsSync(disk);
    return (blocks - bfree) * bsize;
  }

  /** Every file of every layer: what must not change. */
  function filesOfStore(): Map<string, { mode: number; ino: number; uid: number; mtimeMs: number; nlink: number }> {
    const found = new Map<string, { mode: number; ino: number; uid: number; mtimeMs: number; nlink: number }>();
    const overlay = join(disk, "store/overlay");
    for (const layer of readdirSync(overlay)) {
      const diff = join(overlay, layer, "diff");
      if (!/^[0-9a-f]{64}$/.test(layer)) continue;
      for (const path of readdirSync(diff, { recursive: true, encoding: "utf8" })) {
        const stat = lstatSync(join(diff, path));
        if (!stat.isFile()) continue;
        const { mode, ino, uid, mtimeMs, nlink } = stat;
        found.set(join(layer, path), { mode, ino, uid, mtimeMs, nlink });
      }
    }
    return found;
  }

  function objectsOf(repository: Repository): ReturnType<typeof lstatSync>[] {
    const objects = join(repository.path, "objects");
    return readdirSync(objects, { recursive: true, encoding: "utf8" })
      .map((path) => lstatSync(join(objects, path)))
      .filter((stat) => stat.isFile());
  }

  function expectTheSame(repository: Repository, result: PullResult): void {
    expect([result.images, result.verity]).toEqual([reference.images, reference.verity]);
    expect(auditRepository(repository.path)).toMatchObject({ problems: [], temporary: [] });
  }

  it("auto", async () => {
    const before = filesOfStore();
    await using repository = await newRepository(disk);
    const empty = used();
    const result = await fetch(repository, "auto");
    const grown = used() - empty;
    expectTheSame(repository, result);
    // Neither a link nor anything else is left on the files of the store.
    expect(filesOfStore()).toEqual(before);
    for (const object of objectsOf(repository)) expect([object?.mode, object?.nlink]).toEqual([0o100644, 1]);
    const all = { objects: CONTENT_OBJECTS, bytes: CONTENT_BYTES };
    const none = { objects: 0, bytes: 0 };
    expect(result.stats).toMatchObject({ reflinked: shares ? all : none, hardlinked: none });
    if (shares) expect(grown).toBeLessThan(OVERHEAD);
    else expect(grown).toBeGreaterThan(CONTENT_BYTES);
    const again = await fetch(repository, "auto");
    expect(again.stats).toMatchObject({ importedLayers: 0, skippedLayers: 2 });
  });

  it("zerocopy", async () => {
    const before = filesOfStore();
    await using repository = await newRepository(disk);
    const empty = used();
    const events: ProgressEvent[] = [];
    const result = await fetch(repository, "zerocopy", { onProgress: (event) => events.push(event) });
    expect(used() - empty).toBeLessThan(OVERHEAD);
    expectTheSame(repository, result);
    const all = { objects: CONTENT_OBJECTS, bytes: CONTENT_BYTES };
    expect(result.stats[shares ? "reflinked" : "hardlinked"]).toEqual(all);
    const warnings = events.filter(({ type }) => type === "warning");
    expect(warnings).toHaveLength(shares ? 0 : 1);
    const after = filesOfStore();
    if (shares) expect(after).toEqual(before);
    else {
      // Nothing but their number of names changes, and that of small files not.
      const withoutNames = (files: typeof after) => [...files].map(([path, stat]) => ({ ...stat, path, nlink: 0 }));
      expect(withoutNames(after)).toEqual(withoutNames(before));
      const linked = [...after].filter(([path, { nlink }]) => nlink > (before.get(path)?.nlink ?? 0));
      // One of them has two names in the store already.
      expect(linked).toHaveLength(CONTENT_OBJECTS + 1);
      const modes = objectsOf(repository).map((object) => (Number(object?.mode) & 0o7777).toString(8));
      expect(modes.filter((mode) => mode !== "644").toSorted()).toEqual(["0", "4755", "600"]);
    }
    // The objects are there already: neither copied nor linked again.
    rmSync(join(repository.path, "streams"), { recursive: true });
    mkdirSync(join(repository.path, "streams"));
    const again = await fetch(repository, "zerocopy");
    expect(again.stats).toMatchObject({ newObjects: 0, presentObjects: CONTENT_OBJECTS });
    expectTheSame(repository, again);
  });

  it("into a repository on another file system", async () => {
    const before = filesOfStore();
    await using repository = await newRepository(work);
    await expect(fetch(repository, "zerocopy")).rejects.toMatchObject({
      code: "unsupported",
      reason: "E_ZERO_COPY",
      message: expect.stringMatching(/reflink: .*; hard link: it is on another file system/) as string,
    });
    expect(auditRepository(repository.path)).toMatchObject({ problems: [], temporary: [], streams: [], tags: [] });
    expect(filesOfStore()).toEqual(before);
    const result = await fetch(repository, "auto");
    expectTheSame(repository, result);
    expect(result.stats).toMatchObject({ reflinked: { objects: 0 }, hardlinked: { objects: 0 } });
    expect(filesOfStore()).toEqual(before);
  });
}
