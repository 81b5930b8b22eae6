// create-image in the library: objects, images and the name; what failures leave; which formats. That ids and objects are cfsctl's
// is shown by test/interop/directory.test.ts.

import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type ComposefsError,
  computeDirectoryId,
  createImage,
  imageFileObjects,
  initRepository,
  Repository,
} from "../../src/index.ts";
import { COMPOSEFS, MKCOMPOSEFS, run } from "../cli/program.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";

const place = mkdtempSync(join(tmpdir(), "composefs-create-"));
afterAll(() => rmSync(place, { recursive: true, force: true }), 120_000);
const directory = join(place, "root");
const large = Buffer.alloc(900_000, "large");
const small = Buffer.alloc(70, "small");
beforeAll(() => {
  mkdirSync(join(directory, "usr/bin"), { recursive: true });
  writeFileSync(join(directory, "usr/bin/large"), large);
  writeFileSync(join(directory, "usr/bin/small"), small);
  linkSync(join(directory, "usr/bin/small"), join(directory, "usr/again"));
  writeFileSync(join(directory, "usr/inline"), "x".repeat(64));
});

let repositories = 0;
async function newRepository(): Promise<Repository> {
  const path = join(place, `repository-${repositories++}`);
  await initRepository(path, { insecure: true, algorithm: "sha256" });
  return Repository.open(path, { write: true });
}

function objectsOf(repository: Repository): string[] {
  try {
    return readdirSync(join(repository.path, "objects"), { recursive: true })
      .map(String)
      .filter((name) => name.length > 2);
  } catch {
    return [];
  }
}

it("stores files and image, and names it", async () => {
  await using repository = await newRepository();
  const { images, entries, files, bytes } = await createImage(repository, directory, { name: "os/v1" });
  const id = await computeDirectoryId(directory, { algorithm: "sha256" });
  expect(images).toEqual([{ version: 1, id }]);
  expect({ entries, files, bytes }).toEqual({ entries: 7, files: 2, bytes: BigInt(large.length + small.length) });
  expect(repository.images()).toEqual([{ name: "os/v1", target: id }]);
  const image = await repository.readObject(id);
  const objects = [referenceFsverity("sha256", large), referenceFsverity("sha256", small)].toSorted();
  expect(imageFileObjects(image, { algorithm: "sha256", repository: true })).toEqual(objects);
  expect(Buffer.from(await repository.readObject(referenceFsverity("sha256", large))).equals(large)).toBe(true);
  expect(objectsOf(repository).length).toBe(3);
});

it("writes every format that is asked for; the first has the name", async () => {
  await using repository = await newRepository();
  const { images } = await createImage(repository, directory, { name: "os", versions: [2, 0, 1] });
  expect(images.map(({ version }) => version)).toEqual([2, 0, 1]);
  for (const { version, id } of images) {
    expect(id).toBe(await computeDirectoryId(directory, { algorithm: "sha256", version }));
    expect(repository.resolveImage(id)).toBeDefined();
  }
  expect(repository.ref("images", "os")).toBe(images[0]?.id);
});

it("failures leave no image and no name", async () => {
  await using repository = await newRepository();
  const fails = async (promise: Promise<unknown>, code: string) =>
    expect(((await promise.catch((error: unknown) => error)) as ComposefsError).code).toBe(code);
  await fails(createImage(repository, join(place, "none"), { name: "x" }), "not-found");
  await fails(createImage(repository, directory, { name: "../x" }), "usage");
  await fails(createImage(repository, place, { name: "x", containerRoot: false }), "usage");
  await fails(createImage(repository, join(directory, "usr"), { name: "x" }), "invalid");
  await fails(createImage(repository, directory, { name: "x", signal: AbortSignal.abort() }), "aborted");
  expect(repository.images()).toEqual([]);
});

it("the commands agree with each other", async () => {
  await using repository = await newRepository();
  const words = ["--repo", repository.path, "--quiet"];
  const made = await run([...words, "create-image", directory, "os"], { program: COMPOSEFS });
  const computed = await run([...words, "compute-id", directory], { program: COMPOSEFS });
  expect(made).toEqual({ status: 0, stdout: `sha256:${computed.stdout}`, stderr: "" });
  const all = await run([...words, "--json", "create-image", "--all-variants", directory], { program: COMPOSEFS });
  const { variants } = JSON.parse(all.stdout) as { variants: { format: number; id: string }[] };
  expect(variants.map(({ format }) => format)).toEqual([1, 0, 2]);
  const dump = await run([...words, "create-dumpfile", directory], { program: COMPOSEFS });
  const fromDump = await run(["--from-file", "-", "--min-version=1", "--print-digest-only"], {
    program: MKCOMPOSEFS,
    input: dump.stdout,
  });
  expect(fromDump.stdout).toBe(computed.stdout);
});

it("mkcomposefs: options reach the image, the store gets the objects", async () => {
  const store = join(place, "a/new/store");
  const image = join(place, "image");
  const made = await run([`--digest-store=${store}`, "--hardlinks", "--min-version=1", "--json", directory, image], {
    program: MKCOMPOSEFS,
  });
  expect(made.stderr).toBe("");
  const { digest, size } = JSON.parse(made.stdout) as { digest: string; size: number };
  const bytes = readFileSync(image);
  expect({ digest, size }).toEqual({ digest: referenceFsverity("sha256", bytes), size: bytes.length });
  for (const content of [large, small]) {
    const id = referenceFsverity("sha256", content);
    expect(readFileSync(join(store, id.slice(0, 2), id.slice(2))).equals(content)).toBe(true);
  }
  const digests = new Set<string>();
  for (const options of [[], ["--use-epoch"], ["--hardlinks"], ["--min-version=1"]]) {
    const { stdout } = await run(["--print-digest-only", ...options, directory], { program: MKCOMPOSEFS });
    expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
    digests.add(stdout);
  }
  expect(digests.size).toBe(4);
});
