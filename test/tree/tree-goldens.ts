// Directories made for real from the recorded descriptions, and what mkcomposefs (C), cfsctl mkcomposefs and cfsctl made of them:
// dumps, ids, images, object stores, refusals. What the kernel or the file system refuses is taken out of what is expected.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { bootableDirectory } from "../../src/boot/boot-directory.ts";
import { type DirectoryRequest, parseMkcomposefs } from "../../src/cli/mkcomposefs-options.ts";
import {
  type Directory,
  directoryTree,
  dumpImageFile,
  dumpTree,
  imageFileObjects,
  type ImageOptions,
  reduceMetadata,
  scanDirectory,
  storingWork,
  writeImage,
  writeImageFromDump,
  type XattrMode,
} from "../../src/index.ts";
import { type EntrySpec, makeDirectory, type Refusal } from "../fixtures/directory.ts";
import { goldensDir } from "../goldens-dir.ts";

interface RecordedImage {
  size: number;
  sha256: string;
  fsverity: string;
  composefs_version: number;
}

interface Result {
  id: string;
  hash?: Algorithm;
  options: string[];
  exit: number;
  error?: string;
  dump?: string;
  image?: RecordedImage | Record<string, { size: number; sha256: string }>;
  compute_id?: Record<string, string | { exit: number; error: string }>;
  digest_store?: { object: string; size: number; mode: string }[];
  info_objects?: string;
}

/** What a file system cannot hold, and what it shows besides what it was given. */
export interface FileSystemLimits {
  /** Whether it refuses an entry, also to root. */
  readonly refuses: (entry: EntrySpec) => boolean;
  /** Whether it shows an xattr of its own beside one of these. */
  readonly adds: (xattr: string) => boolean;
}

/** ext4, tmpfs and btrfs hold every tree. */
export const NO_LIMITS: FileSystemLimits = { refuses: () => false, adds: () => false };

/** XFS has 18 bits for a minor number, and shows the ACLs that it keeps as xattrs of its own, too. */
export const XFS_LIMITS: FileSystemLimits = {
  refuses: ({ minor = 0 }) => minor >= 1 << 18,
  adds: (xattr) => /^trusted\.SGI_ACL_(FILE|DEFAULT)$/.test(xattr),
};

const goldens = goldensDir("tree");
const isRoot = process.getuid?.() === 0;
const cases = readdirSync(goldens, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

const readJson = (path: string): unknown => JSON.parse(readFileSync(join(goldens, path), "utf8"));
function image(root: Directory, options: ImageOptions) {
  const chunks: Buffer[] = [];
  const written = writeImage(root, options, (chunk) => chunks.push(Buffer.from(chunk)));
  const bytes = Buffer.concat(chunks);
  return { ...written, bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/**
 * Tests of every case, made in a new directory in `parent`.
 *
 * @param parent called before the first test, so that a file system can be mounted there until then
 */
export function describeTreeGoldens(parent: () => string, limits: FileSystemLimits = NO_LIMITS): void {
  let place: string;
  beforeAll(() => {
    place = mkdtempSync(join(parent(), "composefs-tree-"));
  });
  afterAll(() => {
    if (place === undefined) return;
    // Only root can remove what is in a directory without the right to write.
    if (!isRoot) execFileSync("chmod", ["-R", "u+rwx", place]);
    rmSync(place, { recursive: true, force: true });
  }, 120_000);

  it("there are cases, and they have results", () => {
    expect(cases.length).toBeGreaterThan(8);
    for (const name of cases)
      expect((readJson(`${name}/expected.json`) as { results: Result[] }).results.length).toBeGreaterThan(10);
  });

  describe.each(cases)("%s", (name) => describeCase(name, () => join(place, name), limits));
}

function describeCase(name: string, directory: () => string, limits: FileSystemLimits): void {
  const { entries } = readJson(`${name}/tree.json`) as { entries: EntrySpec[] };
  const { results } = readJson(`${name}/expected.json`) as { results: Result[] };
  let refused: Refusal[] = [];
  beforeAll(() => {
    mkdirSync(directory());
    refused = makeDirectory(directory(), entries, limits.refuses);
    // Whatever was refused of a file is missing under its other names, too.
    for (const { type, path = "", target } of entries)
      if (type === "hardlink")
        refused.push(
          ...refused
            .filter((known) => known.path === target && known.what !== "entry")
            .map((known) => ({ ...known, path })),
        );
  });

  const limited = entries.some(
    (entry) =>
      limits.refuses(entry) ||
      Object.keys(entry.xattrs ?? {}).some((xattr) => xattr.startsWith("system.posix_acl_") && limits !== NO_LIMITS),
  );
  if (isRoot && !limited) {
    const made = results.filter(({ exit }) => exit === 0);
    it("is made whole", () => expect(refused).toEqual([]));

    it.each(made.filter(({ id }) => /^c\b/.test(id)).map((r) => [r.id, r] as const))("%s", async (_id, result) => {
      await expectMkcomposefs(directory(), name, result, "c");
    });

    it.each(made.filter(({ id }) => id.startsWith("rs.mk")).map((r) => [r.id, r] as const))("%s", async (_, result) => {
      await expectMkcomposefs(directory(), name, result, "rs");
    });

    it.each(made.filter(({ hash }) => hash !== undefined).map((r) => [r.id, r] as const))("%s", async (_, result) => {
      const algorithm = result.hash ?? "sha512";
      const { root } = await scanFor(directory(), result);
      expect([...dumpTree(root)].join("")).toBe(readFileSync(join(goldens, name, result.dump ?? ""), "latin1"));
      for (const version of [0, 1, 2] as const) {
        const recordedId = result.compute_id?.[`v${version}`];
        const make = () => image(root, { version, algorithm, dialect: "rs" });
        if (typeof recordedId === "object") {
          expect(recordedId.error).toContain("whiteout");
          expect(make).toThrow(/whiteout/);
          continue;
        }
        const { id, size, sha256 } = make();
        expect(id).toBe(recordedId);
        if (result.image !== undefined) {
          const recorded = (result.image as Record<string, { size: number; sha256: string }>)[`v${version}`];
          expect({ size, sha256 }).toEqual(recorded);
        }
      }
    });
  } else {
    describeReduced(name, directory, () => refused, results, limits);
  }

  it.each(results.filter(({ exit }) => exit !== 0).map((r) => [r.id, r] as const))("%s: refused", async (_, r) => {
    // Without root there may be no whiteout to refuse.
    if (r.hash === undefined && refused.some(({ what }) => what === "entry")) return;
    const attempt = r.hash === undefined ? mkcomposefs(directory(), r, "rs") : scanFor(directory(), r);
    const missing = /"(usr|boot|sysroot)" does not exist/.exec(r.error ?? "")?.[1] ?? "usr";
    const reason = /whiteout/.test(r.error ?? "") ? /whiteout/ : new RegExp(`/${missing}`);
    await expect(attempt).rejects.toThrow(reason);
  });
}

async function mkcomposefs(directory: string, { options }: Result, dialect: "c" | "rs", store?: string) {
  const request = parseMkcomposefs([...options, directory, "-"]);
  const kept = request.directory as DirectoryRequest;
  const { root } = await scanDirectory(directory, {
    algorithms: ["sha256"],
    xattrs: kept.xattrs !== "none",
    ...(store === undefined
      ? {}
      : { work: storingWork({ path: store, objects: store, algorithm: "sha256", secure: false }) }),
  });
  reduceMetadata(root, kept);
  const { minVersion: version, maxVersion } = request;
  const versions = dialect === "c" ? { version, maxVersion } : { version };
  return image(root, { ...versions, algorithm: "sha256", dialect });
}

async function expectMkcomposefs(directory: string, name: string, result: Result, dialect: "c" | "rs") {
  const store = result.digest_store === undefined ? undefined : mkdtempSync(`${directory}.store-`);
  const { bytes, sha256, id, size, version } = await mkcomposefs(directory, result, dialect, store);
  expect({ size, sha256, fsverity: id, composefs_version: version }).toEqual(result.image);
  if (result.dump !== undefined) {
    const text: Buffer[] = [];
    dumpImageFile(bytes, (piece) => text.push(Buffer.from(piece)), { form: "c" });
    expect(Buffer.concat(text).toString("latin1")).toBe(readFileSync(join(goldens, name, result.dump), "latin1"));
  }
  if (result.info_objects !== undefined) {
    const objects = imageFileObjects(bytes, { algorithm: "sha256" }).map(
      (object) => `${object.slice(0, 2)}/${object.slice(2)}\n`,
    );
    expect(objects.join("")).toBe(readFileSync(join(goldens, name, result.info_objects), "latin1"));
  }
  if (store === undefined) return;
  const stored = readdirSync(store, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const listed = stored.map((entry) => {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const { size: bytesStored, mode } = lstatSync(path);
    return { object: path.slice(store.length + 1), size: bytesStored, mode: (mode & 0o7777).toString(8) };
  });
  expect(listed.sort((a, b) => (a.object < b.object ? -1 : 1))).toEqual(result.digest_store);
}

async function scanFor(directory: string, { options, hash = "sha512" }: Result) {
  const mode = options.includes("--xattrs") ? options[options.indexOf("--xattrs") + 1] : "allowlist-only";
  return directoryTree(directory, {
    algorithms: [hash],
    containerRoot: !options.includes("--no-propagate-usr-to-root"),
    xattrMode: mode as XattrMode,
    ...(options.includes("--bootable") ? { transform: bootableDirectory(directory) } : {}),
  });
}

/**
 * What could not be made is taken out of the recorded dump, and without root all owners are this user's. That is what must come
 * out, and its image, made from the text, the image.
 */
function describeReduced(
  name: string,
  directory: () => string,
  refused: () => Refusal[],
  results: Result[],
  limits: FileSystemLimits,
): void {
  const dumps = results.filter(({ hash, exit }) => hash !== undefined && exit === 0);
  it("is made but for what is refused", () => {
    for (const { reason } of refused())
      expect(reason).toMatch(/^(EPERM|EACCES|EINVAL|EOPNOTSUPP|its (owner|target) .*)$/);
  });

  it.each(dumps.map((r) => [r.id, r] as const))("%s, of what could be made", async (_, result) => {
    const algorithm = result.hash ?? "sha512";
    const recorded = readFileSync(join(goldens, name, result.dump ?? ""), "latin1");
    const { root } = await scanFor(directory(), result);
    const text = [...dumpTree(root)].join("");
    expect(withoutAdditions(text, limits)).toBe(reducedDump(recorded, refused()));
    if (typeof result.compute_id?.["v1"] === "object") return;
    const options = { version: 1, algorithm, dialect: "rs" } as const;
    expect(image(root, options).id).toBe((await writeImageFromDump([Buffer.from(text, "latin1")], options)).id);
  });
}

function withoutAdditions(text: string, { adds }: FileSystemLimits): string {
  return text
    .split("\n")
    .map((line) =>
      line
        .split(" ")
        .filter((field, i) => i < 11 || !adds(field.split("=")[0] ?? ""))
        .join(" "),
    )
    .join("\n");
}

/** A recorded dump without entries and xattrs that were refused; its owner is this user, but for root. */
function reducedDump(text: string, refused: readonly Refusal[]): string {
  const missing = new Set(refused.filter(({ what }) => what === "entry").map(({ path }) => path));
  const xattrs = refused.flatMap(({ path, what }) => (what.startsWith("xattr ") ? [`${path} ${what.slice(6)}`] : []));
  const unescape = (field: string) =>
    field.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const owner = [String(process.getuid?.()), String(process.getgid?.())];
  const lines = text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const path = unescape(fields[0] ?? "");
    if (line === "" || [...missing].some((gone) => path === gone || path.startsWith(`${gone}/`))) return [];
    if (fields[2]?.startsWith("@")) return [line];
    if (!isRoot) fields.splice(4, 2, ...owner);
    return [fields.filter((field, i) => i < 11 || !xattrs.includes(`${path} ${field.split("=")[0]}`)).join(" ")];
  });
  return lines.map((line) => `${line}\n`).join("");
}
