// What people type wrongly and what the world does wrongly: one line, a hint, the right status, nothing left behind.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EXAMPLE, run, temporaryDirectory } from "./program.ts";

const PLATFORM = ["--platform", "linux/amd64"];
const directory = temporaryDirectory();
const repository = join(directory, "repository");

beforeAll(async () => {
  expect((await run(["init", "--insecure", repository])).status).toBe(0);
});

interface Index {
  manifests: { digest: string; annotations: Record<string, string> }[];
}

/** A copy of the example whose blobs may be damaged. */
function layoutCopy(name: string): { path: string; blob: (digest: string) => string; layers: string[] } {
  const path = join(directory, name);
  cpSync(EXAMPLE, path, { recursive: true });
  const blob = (digest: string) => join(path, "blobs/sha256", digest.slice(7));
  const { manifests } = JSON.parse(readFileSync(join(path, "index.json"), "utf8")) as Index;
  const manifest = JSON.parse(readFileSync(blob(manifests[0]?.digest ?? ""), "utf8")) as {
    layers: { digest: string }[];
  };
  return { path, blob, layers: manifest.layers.map((layer) => layer.digest) };
}

/** Runs what must fail; returns its two lines. */
async function failure(words: string[], status = 1): Promise<{ message: string; hint: string }> {
  const finished = await run(words);
  expect(finished.stdout).toBe("");
  const lines = finished.stderr
    .trimEnd()
    .split("\n")
    .filter((line) => !/^(layer|config|manifest) [0-9a-f]/.test(line));
  expect(lines.length, finished.stderr).toBeLessThanOrEqual(2);
  expect(lines[0]).toMatch(/^composefs: [^\n]{8,}$/);
  expect(finished.status).toBe(status);
  return { message: lines[0]?.slice(11) ?? "", hint: lines[1] ?? "" };
}

const pull = (reference: string, ...more: string[]) => [
  "--repo",
  repository,
  "oci",
  "pull",
  ...PLATFORM,
  reference,
  ...more,
];

/** Nothing of a refused image may be found. */
function expectNothingPublished(): void {
  const below = (name: string) => {
    const path = join(repository, name);
    return existsSync(path) ? (readdirSync(path, { recursive: true }) as string[]) : [];
  };
  expect(below("streams").filter((name) => name.includes("oci"))).toEqual([]);
  expect(below("images").filter((name) => name !== "refs")).toEqual([]);
  expect(below("objects").filter((name) => name.includes(".tmp"))).toEqual([]);
}

describe("references", () => {
  it.each([
    ["bogus", /bogus/, /oci:/],
    ["foo:bar", /foo/, /oci:/],
    ["oci:", /./, /./],
    ["oci:/no/such/place:v1", /\/no\/such\/place/, /./],
  ])("%s", async (reference, message, hint) => {
    const finished = await run(pull(reference));
    expect(finished.status).toBeOneOf([1, 2]);
    const [first = "", second = ""] = finished.stderr.split("\n");
    expect(first).toMatch(/^composefs: /);
    expect(first).toMatch(message);
    expect(second).toMatch(/^hint: /);
    expect(second).toMatch(hint);
    expectNothingPublished();
  });

  it("a directory that is no layout", async () => {
    const path = join(directory, "no-layout");
    mkdirSync(path);
    const { message } = await failure(pull(`oci:${path}`));
    expect(message).toContain(path);
    expect(message).toContain("index.json");
  });

  it("an unknown tag suggests the near one", async () => {
    const { message, hint } = await failure(pull(`oci:${EXAMPLE}:v11`));
    expect(message).toContain("v11");
    expect(hint).toContain("v1");
  });

  it("a platform that is not there names those that are", async () => {
    const { message, hint } = await failure([
      "--repo",
      repository,
      "oci",
      "pull",
      "--platform",
      "linux/s390x",
      `oci:${EXAMPLE}:v1`,
    ]);
    expect(message).toContain("linux/s390x");
    expect(message + hint).toContain("linux/arm64");
  });

  it("a tag that no command could address", async () => {
    const finished = await run(pull(`oci:${EXAMPLE}:v1`, "@name"));
    expect(finished.status).toBeOneOf([1, 2]);
    expect(finished.stderr).toContain("@name");
    expectNothingPublished();
  });
});

describe("damaged layouts", () => {
  it("a missing blob", async () => {
    const { path, blob, layers } = layoutCopy("missing");
    rmSync(blob(layers[1] ?? ""));
    const { message } = await failure(pull(`oci:${path}:v1`));
    expect(message).toContain(layers[1]);
    expectNothingPublished();
  });

  it("a truncated blob", async () => {
    const { path, blob, layers } = layoutCopy("truncated");
    const file = blob(layers[0] ?? "");
    writeFileSync(file, readFileSync(file).subarray(0, 20_000));
    const { message } = await failure(pull(`oci:${path}:v1`));
    expect(message).toContain(layers[0]);
    expect(message).toMatch(/20000|20 ?000/);
    expectNothingPublished();
  });

  it("a blob with a wrong digest", async () => {
    const { path, blob, layers } = layoutCopy("flipped");
    const bytes = readFileSync(blob(layers[2] ?? ""));
    // In the content of a file: the archive stays well-formed.
    bytes[4096 + 600] = (bytes[4096 + 600] ?? 0) ^ 1;
    writeFileSync(blob(layers[2] ?? ""), bytes);
    const { message } = await failure(pull(`oci:${path}:v1`));
    expect(message).toContain(layers[2]);
    expectNothingPublished();
  });

  it("a good pull afterwards works", async () => {
    const finished = await run(pull(`oci:${EXAMPLE}:v1`, "good"));
    expect(finished.status).toBe(0);
    const { id } = JSON.parse(readFileSync(join(EXAMPLE, "../expected.json"), "utf8")) as { id: string };
    expect(finished.stdout).toContain(`image    ${id}\n`);
  });
});

describe("repositories", () => {
  const repositoryWith = (name: string, change: (meta: Record<string, unknown>) => void): string => {
    const path = join(directory, name);
    cpSync(repository, path, { recursive: true, verbatimSymlinks: true });
    const meta = JSON.parse(readFileSync(join(path, "meta.json"), "utf8")) as Record<string, unknown>;
    change(meta);
    writeFileSync(join(path, "meta.json"), `${JSON.stringify(meta, undefined, 2)}\n`);
    return path;
  };

  it("none there: says how to make one", async () => {
    const { message, hint } = await failure(["--repo", join(directory, "nowhere"), "oci", "images"]);
    expect(message).toContain(join(directory, "nowhere"));
    expect(hint).toMatch(/init/);
    expect(existsSync(join(directory, "nowhere"))).toBe(false);
  });

  it("any other directory is not one", async () => {
    const path = join(directory, "other");
    mkdirSync(path);
    const { message, hint } = await failure(["--repo", path, "images"]);
    expect(message).toContain("not a composefs repository");
    expect(hint).toMatch(/init/);
    expect(readdirSync(path)).toEqual([]);
  });

  it("an unknown algorithm, a newer version, unknown features", async () => {
    const algorithm = repositoryWith("algorithm", (meta) => Object.assign(meta, { algorithm: "fsverity-blake3-12" }));
    expect((await failure(["--repo", algorithm, "images"])).message).toContain("fsverity-blake3-12");
    const newer = repositoryWith("newer", (meta) => Object.assign(meta, { version: 2 }));
    expect((await failure(["--repo", newer, "images"])).message).toMatch(/version 2/);
    const feature = repositoryWith("feature", (meta) => {
      Object.assign(meta["features"] as object, { incompatible: ["teleport"] });
    });
    expect((await failure(["--repo", feature, "images"])).message).toContain("teleport");
    const readOnly = repositoryWith("read-only", (meta) => {
      Object.assign(meta["features"] as object, { "read-only-compatible": ["v1_erofs", "varnish"] });
    });
    expect((await run(["--repo", readOnly, "oci", "images"])).status).toBe(0);
    expect((await failure(["--repo", readOnly, "oci", "untag", "good"])).message).toContain("varnish");
  });

  it("one that disagrees with --hash", async () => {
    const { message } = await failure(["--repo", repository, "--hash", "sha256", "images"], 2);
    expect(message).toContain("sha256");
  });

  it.skipIf(process.getuid?.() === 0)("one that may not be written", async () => {
    const path = repositoryWith("unwritable", () => undefined);
    const { mode } = statSync(path);
    const { chmodSync } = await import("node:fs");
    chmodSync(path, 0o500);
    chmodSync(join(path, "objects"), 0o500);
    expect((await failure(["--repo", path, "oci", "pull", `oci:${EXAMPLE}:v1`, ...PLATFORM])).message).toContain(
      "not writable",
    );
    chmodSync(path, mode);
    chmodSync(join(path, "objects"), 0o700);
  });

  it("names that are not there suggest those that are", async () => {
    for (const words of [["inspect"], ["dump"], ["compute-id"], ["untag"]]) {
      const { message, hint } = await failure(["--repo", repository, "oci", ...words, "goood"]);
      expect(message).toContain("goood");
      expect(hint).toContain("good");
    }
    const unknown = `sha256:${"a".repeat(64)}`;
    expect((await failure(["--repo", repository, "oci", "tag", unknown, "x"])).message).toContain(unknown);
    expect((await failure(["--repo", repository, "oci", "layer", unknown, "--json"])).message).toContain(unknown);
    expect((await failure(["--repo", repository, "cat", "refs/oci/nothing"])).message).toContain("nothing");
    expect((await failure(["--repo", repository, "image-objects", "nothing"])).message).toContain("nothing");
    // Commands that only read left no new name behind.
    expect(readdirSync(join(repository, "streams/refs/oci"))).toEqual(["good"]);
  });

  it("paths do not leave the repository", async () => {
    for (const name of ["../meta.json", "/etc/passwd", "refs/../../meta.json"]) {
      const finished = await run(["--repo", repository, "cat", name]);
      expect(finished.stdout).toBe("");
      expect(finished.status).toBeOneOf([1, 2]);
    }
  });

  it("causes are shown with --verbose only", async () => {
    const quiet = await run(["--repo", "/nonexistent/x", "images"]);
    const verbose = await run(["--verbose", "--repo", "/nonexistent/x", "images"]);
    expect(verbose.stderr.startsWith(quiet.stderr)).toBe(true);
    expect(verbose.stderr).toContain("    at ");
    expect(quiet.stderr).not.toContain("    at ");
  });
});
