// The host's rules for registries (docs/spec/oci.md, section 3.2): what files say, whom they send where, and pulls through mirrors.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { pull } from "../../../src/oci/pull.ts";
import { parseRegistryName } from "../../../src/oci/reference.ts";
import { endpointsOf } from "../../../src/oci/registry/endpoints.ts";
import { loadRegistriesConf, parseRegistriesConf } from "../../../src/oci/registry/registries-conf.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { TestRegistry } from "../../fixtures/registry.ts";
import { tar } from "../../fixtures/tar.ts";

let work: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-registries-"));
  writeLayout(join(work, "image"), "v1", [
    {
      tar: tar([
        { path: "usr", type: "directory" },
        { path: "usr/a", content: Buffer.alloc(2000, 7) },
      ]),
      compression: "gzip",
    },
  ]);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

const MIRRORED = `
unqualified-search-registries = ["example.test"]
[[registry]]
location = "example.test"
insecure = true
[[registry]]
prefix = "example.test/foo"
location = "h:5066/r"
[[registry.mirror]]
location = "mirror.test/m"
insecure = true
[[registry.mirror]]
location = "digests.test/"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.wild.test"
location = "cache.test/wild"
[[registry]]
prefix = "bad.test"
blocked = true
[aliases]
"short" = "example.test/long"
`;

function places(text: string, name: string): string[] {
  return endpointsOf(parseRegistriesConf(text, "registries.conf"), parseRegistryName(name)).map(
    ({ name: { domain, path, tag, digest }, insecure, isMirror }) =>
      `${isMirror ? "mirror " : ""}${domain}/${path}${tag ? `:${tag}` : `@${digest}`}${insecure ? " insecure" : ""}`,
  );
}

const DIGEST = `sha256:${"0".repeat(64)}`;

test.each([
  ["other.test/foo/i:1", ["other.test/foo/i:1"]],
  ["example.test/foobar", ["example.test/foobar:latest insecure"]],
  ["example.test/foo/i:1", ["mirror mirror.test/m/i:1 insecure", "h:5066/r/i:1"]],
  [`example.test/foo@${DIGEST}`, [`mirror mirror.test/m@${DIGEST} insecure`, `h:5066/r@${DIGEST}`]],
  [
    `example.test/foo/i@${DIGEST}`,
    [`mirror mirror.test/m/i@${DIGEST} insecure`, `mirror digests.test/i@${DIGEST}`, `h:5066/r/i@${DIGEST}`],
  ],
  ["a.b.wild.test:5000/x/y:2", ["cache.test/wild/x/y:2"]],
  ["wild.test/x:2", ["wild.test/x:2"]],
])("%s is asked for at %j", (name, expected) => {
  // A mirror without a path has no place for the repository that is the prefix itself.
  const text = name === `example.test/foo@${DIGEST}` ? MIRRORED.replace('"digest-only"', '"tag-only"') : MIRRORED;
  expect(places(text, name)).toEqual(expected);
});

test("a prefix may be a single image", () => {
  const text = `[[registry]]
prefix = "a.test/x:1"
location = "b.test/y"
[[registry]]
prefix = "a.test/x@${DIGEST}"
blocked = true
`;
  expect(places(text, "a.test/x:1")).toEqual(["b.test/y:1"]);
  expect(places(text, "a.test/x:10")).toEqual(["a.test/x:10"]);
  expect(() => places(text, `a.test/x@${DIGEST}`)).toThrow("is blocked");
});

test("a blocked registry is refused by the name of the rule", () => {
  expect(() => places(MIRRORED, "bad.test/x")).toThrow("the registry bad.test is blocked by registries.conf");
});

test("a mirror without a path cannot hold what the prefix is", () => {
  const text = '[[registry]]\nprefix = "a.test/x"\nlocation = "b.test"\n';
  expect(() => places(text, "a.test/x:1")).toThrow("names a whole registry, b.test, for a single repository");
});

test.each([
  ["[[registry]\n", "registries.conf, line 1:"],
  ["a = 1\nb = \n", "registries.conf, line 2:"],
  ["[[registry]]\nblocked = true\n", "neither prefix nor location"],
  ['[[registry]]\nlocation = "https://a.test"\n', '"https://a.test" is no prefix'],
  [
    '[[registry]]\nlocation = "a.test"\n[[registry]]\nlocation = "b.test"\n\n blocked = "yes"\n',
    "line 6: registry.1.blocked",
  ],
  [
    '[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "c.test"\n[[registry]]\nlocation = "b.test"\n[[registry.mirror]]\nlocation = "x y"\n',
    'line 8: "x y" is no location of a mirror of b.test',
  ],
  ['[[registry]]\nlocation = "a.test"\n[[registry]] # the second\nprefix = ""\n', "line 3: a [[registry]] has neither"],
  ['registry = [\n{ location = "a b" } ]\n', 'registries.conf: "a b" is no prefix'],
  ['a = 1\n[registries.search]\nregistries = ["a.test"]\n', "line 2: registries: tables of version 1"],
  ['[[registry]]\nlocation = "a.test:tag"\n', '"a.test:tag" is no prefix'],
  ['[[registry]]\nprefix = "*.a.test/x"\nlocation = "b.test"\n', '"*.a.test/x" is no prefix'],
  ['[[registry]]\nprefix = "a.test"\nlocation = "../b"\n', '"../b" is no location'],
  [
    '[[registry]]\nlocation = "a.test"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b.test"\npull-from-mirror = "all"\n',
    "only one of them",
  ],
])("%j is refused", (text, message) => {
  const call = () => parseRegistriesConf(text, "registries.conf");
  expect(call).toThrow(ComposefsError);
  expect(call).toThrow(message);
});

test("the user's file counts before the system's, and drop-ins after both", async () => {
  const home = join(work, "home");
  const folder = join(home, ".config/containers");
  mkdirSync(join(folder, "registries.conf.d"), { recursive: true });
  writeFileSync(join(folder, "registries.conf"), MIRRORED);
  writeFileSync(join(folder, "registries.conf.d/20.conf"), '[[registry]]\nlocation = "bad.test"\ninsecure = true\n');
  writeFileSync(join(folder, "registries.conf.d/10.conf"), '[[registry]]\nlocation = "bad.test"\nblocked = true\n');
  writeFileSync(join(folder, "registries.conf.d/30.txt"), "no TOML");
  const rules = await loadRegistriesConf({ HOME: home });
  expect(rules.map(({ prefix }) => prefix)).toEqual(["example.test", "example.test/foo", "*.wild.test", "bad.test"]);
  expect(rules.at(-1)).toMatchObject({ insecure: true, blocked: false, path: expect.stringContaining("20.conf") });
  await expect(loadRegistriesConf({ CONTAINERS_REGISTRIES_CONF: join(home, "none") })).rejects.toThrow("home/none");
});

test("a mirror is asked first, and the registry where the mirror fails", async () => {
  await using mirror = await TestRegistry.start();
  await using registry = await TestRegistry.start();
  for (const one of [mirror, registry]) one.load(join(work, "image"));
  const conf = join(work, "registries.conf");
  writeFileSync(
    conf,
    `[[registry]]\nprefix = "os.test/p"\nlocation = "${registry.host}/p"\ninsecure = true\n` +
      `[[registry.mirror]]\nlocation = "${mirror.host}/m"\ninsecure = true\n`,
  );
  vi.stubEnv("CONTAINERS_REGISTRIES_CONF", conf);
  vi.stubEnv("HOME", work);
  const pulled = async (): Promise<string[]> => {
    const path = mkdtempSync(join(work, "repository-"));
    await Repository.init(path, { algorithm: "sha256", insecure: true });
    await using repository = await Repository.open(path, { write: true, durability: "none" });
    const notes: string[] = [];
    const options = {
      retryUnit: 1,
      credentials: { username: "u", password: "p" },
      onProgress: (event: { type: string; message?: string }) => void (event.message && notes.push(event.message)),
    };
    const { tag } = await pull(repository, "docker://os.test/p/image:v1", { registry: options });
    expect(tag).toBe("docker://os.test/p/image:v1");
    return notes;
  };
  await pulled();
  expect(registry.requests).toEqual([]);
  expect(mirror.requests.map(({ url }) => url)).toContain("/v2/m/image/manifests/v1");
  expect(mirror.requests.some(({ authorization }) => authorization !== undefined)).toBe(false);

  mirror.misbehave = ({ url }, response) => {
    if (!url.includes("/blobs/")) return false;
    response.writeHead(404).end();
    return true;
  };
  const notes = await pulled();
  expect(notes.filter((note) => note.includes("trying 127.0.0.1")).length).toBe(1);
  expect(registry.requests.map(({ url }) => url)).toContainEqual(expect.stringContaining("/v2/p/image/blobs/"));
  expect(registry.requests.map(({ url }) => url)).not.toContain("/v2/p/image/manifests/v1");
});
