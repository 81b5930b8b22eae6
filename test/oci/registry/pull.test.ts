// Pulls from a registry (docs/spec/oci.md, sections 3 and 14.3): the recorded images are the same as out of their layouts; faults are
// survived where that helps and refused by name otherwise; credentials go nowhere but where they belong.

import { mkdtempSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../../src/error.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import { pull } from "../../../src/oci/pull.ts";
import type { PullOptions, PullResult } from "../../../src/oci/pull-options.ts";
import type { RegistryOptions } from "../../../src/oci/registry/requests.ts";
import { Repository } from "../../../src/repository/repository.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { randomBytes, seededRandom } from "../../fixtures/random.ts";
import { fail, TestRegistry, type Misbehaviour } from "../../fixtures/registry.ts";
import { auditRepository } from "../../fixtures/repository-audit.ts";
import { tar } from "../../fixtures/tar.ts";
import { goldensDir } from "../../goldens-dir.ts";
import { openOciGoldens } from "../golden-layouts.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
const FAST: RegistryOptions = { tlsVerify: false, retryUnit: 1, timeouts: { head: 2000, idle: 1000 } };

let work: string;
let image: string;
let count = 0;
let saved: Record<string, string | undefined>;
const CLEAN = [
  "CONTAINERS_REGISTRIES_CONF",
  "REGISTRY_AUTH_FILE",
  "XDG_RUNTIME_DIR",
  "XDG_CONFIG_HOME",
  "DOCKER_CONFIG",
  "HOME",
];

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-registry-"));
  // Nobody's credentials are looked at.
  saved = Object.fromEntries(CLEAN.map((name) => [name, process.env[name]]));
  for (const name of CLEAN) delete process.env[name];
  process.env["HOME"] = process.env["XDG_RUNTIME_DIR"] = work;
  image = join(work, "image");
  const content = randomBytes(seededRandom(3), 600_000);
  writeLayout(image, "v1", [
    {
      tar: tar([
        { path: "usr", type: "directory" },
        { path: "usr/file", content },
      ]),
      compression: "gzip",
    },
  ]);
});
afterAll(() => {
  for (const name of CLEAN) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
  rmSync(work, { recursive: true, force: true });
});

async function newRepository(): Promise<Repository> {
  const path = join(work, `repository-${count++}`);
  await Repository.init(path, { algorithm: "sha256", insecure: true });
  return Repository.open(path, { write: true, durability: "none" });
}

async function serving(layout = image): Promise<TestRegistry> {
  const registry = await TestRegistry.start();
  registry.load(layout);
  return registry;
}

async function pulled(registry: TestRegistry, options: PullOptions & { name?: string } = {}): Promise<PullResult> {
  await using repository = await newRepository();
  const { name = "p/os:v1", ...rest } = options;
  return await pull(repository, `docker://${registry.host}/${name}`, { tag: "t", registry: FAST, ...rest });
}

async function refusal(registry: TestRegistry, options: PullOptions & { name?: string } = {}): Promise<ComposefsError> {
  await using repository = await newRepository();
  const { name = "p/os:v1", ...rest } = options;
  const error: unknown = await pull(repository, `docker://${registry.host}/${name}`, {
    tag: "t",
    registry: FAST,
    ...rest,
  }).catch((e: unknown) => e);
  if (!(error instanceof ComposefsError)) throw new Error(`not refused properly: ${String(error)}`);
  expect(auditRepository(repository.path)).toMatchObject({ problems: [], tags: [], streams: [], images: [] });
  return error;
}

/** Does it for the first `times` requests for blobs of some size. */
function atLayer(
  times: number,
  action: (response: ServerResponse, blob: Buffer) => void,
  registry: TestRegistry,
): Misbehaviour {
  let left = times;
  return ({ url, range }, response) => {
    const blob = registry.blobs.get(url.split("/").at(-1) ?? "");
    if (!url.includes("/blobs/") || blob === undefined || blob.length < 10_000 || left-- <= 0) return false;
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    action(response, blob.subarray(from));
    return true;
  };
}

describe("the recorded images", () => {
  it.each(goldenImages.map((golden) => ({ name: `${golden.name}:${golden.tag}`, golden })))(
    "$name",
    async ({ golden }) => {
      await using registry = await serving(unpackLayout(golden.layout, join(work, `golden-${count++}`)));
      const tag = registry.manifests.has(golden.tag) ? golden.tag : "latest";
      const result = await pulled(registry, { name: `a/b/c:${tag}`, platform });
      expect(result.manifestDigest).toBe(golden.manifest_digest);
      expect(result.images.map(({ id }) => id)).toEqual(
        golden.image_ids === undefined ? [] : [golden.image_ids.sha256["v1"]],
      );
      const again = await pulled(registry, {
        name: `a/b/c@${golden.source_manifest_digest ?? golden.manifest_digest}`,
        platform,
      });
      expect(again.manifestDigest).toBe(golden.manifest_digest);
    },
  );

  it("are asked for with no request too many, and the second time with the manifest alone", async () => {
    await using registry = await serving();
    await using repository = await newRepository();
    const reference = `docker://${registry.host}/p/os:v1`;
    await pull(repository, reference, { tag: "t", registry: FAST });
    expect(registry.paths.map((path) => path.split("/")[0])).toEqual(["", "manifests", "blobs", "blobs"]);
    registry.requests.length = 0;
    const { stats } = await pull(repository, reference, { tag: "t", registry: FAST });
    expect(registry.paths).toEqual(["/v2/", "manifests/v1"]);
    expect(stats).toMatchObject({ importedLayers: 0, skippedLayers: 1 });
  });
});

describe("faults that pass", () => {
  it.each([429, 500, 502, 503, 504, 408])("status %d, everywhere once", async (status) => {
    await using registry = await serving();
    const seen = new Set<string>();
    registry.misbehave = ({ url }, response) => {
      if (seen.has(url)) return false;
      seen.add(url);
      response.setHeader("retry-after", "0");
      fail(response, status, "TOOMANYREQUESTS", "slow down");
      return true;
    };
    expect((await pulled(registry)).stats.importedLayers).toBe(1);
    expect(registry.requests).toHaveLength(8);
  });

  it("a cut body is gone on with from where it was cut", async () => {
    await using registry = await serving();
    registry.misbehave = cutting(registry, [100_000, 150_000, 1, 200_000]);
    expect((await pulled(registry)).stats.importedLayers).toBe(1);
    const ranges = registry.requests.filter(({ url }) => url.includes("/blobs/")).map(({ range }) => range);
    expect(ranges).toEqual([undefined, undefined, "bytes=100000-", "bytes=250000-", "bytes=250001-", "bytes=450001-"]);
  });

  it("a cut body of a registry without ranges is read again", async () => {
    await using registry = await serving();
    const cut = cutting(registry, [100_000, 300_000]);
    registry.misbehave = (request, response) => {
      const whole = { ...request, range: undefined };
      if (!cut(whole, response)) registry.serve(whole, response);
      return true;
    };
    expect((await pulled(registry)).stats.importedLayers).toBe(1);
  });

  it.each([
    [416, "bytes */1"],
    [206, "bytes 7-100/101"],
  ])("a wrong answer to a range (%d) leads back to the whole", async (status, range) => {
    await using registry = await serving();
    const cut = cutting(registry, [100_000]);
    registry.misbehave = (request, response) => {
      if (cut(request, response)) return true;
      if (request.range === undefined) return false;
      response.writeHead(status, { "content-range": range });
      response.end("x");
      return true;
    };
    expect((await pulled(registry)).stats.importedLayers).toBe(1);
    expect(registry.requests.at(-1)?.range).toBeUndefined();
  });
});

/** Cuts the first answers for the layer after so many bytes each, ranges respected. */
function cutting(registry: TestRegistry, lengths: number[]): Misbehaviour {
  const left = [...lengths];
  return ({ url, range }, response) => {
    const blob = registry.blobs.get(url.split("/").at(-1) ?? "");
    if (!url.includes("/blobs/") || blob === undefined || blob.length < 10_000) return false;
    const length = left.shift();
    if (length === undefined) return false;
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const part = blob.subarray(from);
    const headers = { "content-length": part.length };
    if (range === undefined) response.writeHead(200, headers);
    else response.writeHead(206, { ...headers, "content-range": `bytes ${from}-${blob.length - 1}/${blob.length}` });
    response.write(part.subarray(0, length), () => setTimeout(() => response.destroy(), 20));
    return true;
  };
}

describe("faults that stay", () => {
  it("a server error is tried five times and then told", async () => {
    await using registry = await serving();
    registry.misbehave = ({ url }, response) => {
      if (!url.includes("/manifests/")) return false;
      fail(response, 503, "UNAVAILABLE", "in the woods");
      return true;
    };
    expect(await refusal(registry)).toMatchObject({
      code: "io",
      message: expect.stringMatching(/127\.0\.0\.1.*503.*in the woods/),
    });
    expect(registry.requests.filter(({ url }) => url.includes("/manifests/"))).toHaveLength(5);
  });

  it("an unknown name is told at once", async () => {
    await using registry = await serving();
    expect(await refusal(registry, { name: "p/os:v9" })).toMatchObject({
      code: "not-found",
      message: expect.stringContaining("manifest unknown"),
    });
    expect(registry.requests).toHaveLength(2);
  });

  const bodies: [string, (response: ServerResponse, blob: Buffer) => void, RegExp][] = [
    ["another content", (r, blob) => void r.end(Buffer.alloc(blob.length, 1)), /instead of sha256|sha256:/],
    ["a wrong length", (r, blob) => void r.end(blob.subarray(1)), /instead of/],
    [
      "no end",
      (r) => {
        const go = () => {
          while (!r.destroyed && r.write(Buffer.alloc(65_536, 31)));
          if (!r.destroyed) r.once("drain", go);
        };
        go();
      },
      /more than|sha256|longer/,
    ],
    [
      "a trickle",
      (r) => {
        const timer = setInterval(() => (r.destroyed ? clearInterval(timer) : r.write("x")), 50);
      },
      /hardly anything/,
    ],
  ];
  it.each(bodies)("a layer with %s", async (_, action, message) => {
    await using registry = await serving();
    registry.misbehave = atLayer(Number.POSITIVE_INFINITY, action, registry);
    const error = await refusal(registry, { registry: { ...FAST, timeouts: { head: 1000, idle: 300 } } });
    expect(error.message).toMatch(message);
    expect(["digest-mismatch", "io"]).toContain(error.code);
  });

  const manifests: [string, (response: ServerResponse) => void, string][] = [
    ["gigantic", (r) => void r.end(Buffer.alloc(5 << 20, 32)), "limit"],
    ["no JSON", (r) => void r.end("<html>hello</html>"), "invalid"],
    ["of schema 1", (r) => void r.end('{"schemaVersion":1,"fsLayers":[]}'), "unsupported"],
    [
      "not what its header says",
      (r) => {
        r.setHeader("docker-content-digest", `sha256:${"0".repeat(64)}`);
        r.end("{}");
      },
      "digest-mismatch",
    ],
    [
      "a redirect to itself",
      (r) => {
        r.writeHead(302, { location: "/v2/p/os/manifests/v1" });
        r.end();
      },
      "io",
    ],
    [
      "a redirect to a file",
      (r) => {
        r.writeHead(302, { location: "file:///etc/passwd" });
        r.end();
      },
      "invalid",
    ],
    ["never there", () => {}, "io"],
  ];
  it.each(manifests)("a manifest that is %s", async (_, action, code) => {
    await using registry = await serving();
    registry.misbehave = ({ url }, response) => {
      if (!url.includes("/manifests/")) return false;
      action(response);
      return true;
    };
    expect(await refusal(registry, { registry: { ...FAST, timeouts: { head: 200, idle: 200 } } })).toMatchObject({
      code,
    });
    expect(registry.requests.length).toBeLessThan(20);
  });

  it("an abort ends a pull that hangs", async () => {
    await using registry = await serving();
    registry.misbehave = atLayer(9, (response) => void response.write("x"), registry);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 200);
    const before = performance.now();
    expect(
      await refusal(registry, { signal: stop.signal, registry: { ...FAST, timeouts: { head: 60_000, idle: 60_000 } } }),
    ).toMatchObject({
      code: "aborted",
    });
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it("nobody listens, and plain http without leave", async () => {
    const registry = await serving();
    const { tlsVerify: _, ...verifying } = FAST;
    expect(await refusal(registry, { registry: verifying })).toMatchObject({
      code: "io",
      hint: expect.stringContaining("--tls-verify=false"),
    });
    await registry[Symbol.asyncDispose]();
  });
});

describe("authentication", () => {
  const USER = { username: "ann", password: 'a:"b' };
  const BASIC = `Basic ${Buffer.from('ann:a:"b').toString("base64")}`;

  it("basic", async () => {
    await using registry = await serving();
    registry.misbehave = ({ authorization }, response) => {
      if (authorization === BASIC) return false;
      response.setHeader("www-authenticate", 'Basic realm="here"');
      fail(response, 401, "UNAUTHORIZED", "who are you");
      return true;
    };
    await pulled(registry, { registry: { ...FAST, credentials: USER } });
    expect(await refusal(registry)).toMatchObject({
      code: "permission",
      message: expect.stringContaining("no credentials were sent"),
    });
    const wrong = { ...FAST, credentials: { username: "ann", password: "no" } };
    expect(await refusal(registry, { registry: wrong })).toMatchObject({
      message: expect.stringContaining("not accepted"),
    });
  });

  it.each([undefined, USER])("a token, with the credentials %o", async (credentials) => {
    await using registry = await serving();
    let tokens = 0;
    registry.misbehave = ({ url, authorization }, response) => {
      if (url.startsWith("/token")) {
        response.end(JSON.stringify({ token: `t${++tokens}`, expires_in: 300 }));
        return true;
      }
      // The first token is refused at the layer: a new one is fetched.
      const isBad = tokens < 2 && url.includes("/blobs/");
      if (authorization === `Bearer t${tokens}` && !isBad) return false;
      response.setHeader(
        "www-authenticate",
        `Bearer realm="http://${registry.host}/token",service="s t",scope="repository:p/os:pull"`,
      );
      fail(response, 401, "UNAUTHORIZED", "token please");
      return true;
    };
    await pulled(registry, { registry: { ...FAST, credentials } });
    const asked = registry.requests.filter(({ url }) => url.startsWith("/token"));
    expect(asked).toHaveLength(2);
    expect(asked[0]?.authorization).toBe(credentials === undefined ? undefined : BASIC);
    const account = credentials === undefined ? "" : "account=ann&";
    expect(asked[0]?.url).toBe(`/token?${account}scope=repository%3Ap%2Fos%3Apull&service=s+t`);
  });

  it("a token server that is down, or says nonsense", async () => {
    await using registry = await serving();
    let reply: (response: ServerResponse) => void = (response) => void response.destroy();
    registry.misbehave = ({ url }, response) => {
      if (url.startsWith("/token")) reply(response);
      else {
        response.setHeader("www-authenticate", `Bearer realm="http://${registry.host}/token"`);
        fail(response, 401, "UNAUTHORIZED", "token please");
      }
      return true;
    };
    expect(await refusal(registry)).toMatchObject({ code: "io", message: expect.stringContaining("token") });
    reply = (response) => void response.end('{"token":"a\\r\\nX: y"}');
    expect((await refusal(registry)).code).toBe("invalid");
    reply = (response) => void response.end("{}");
    expect((await refusal(registry)).code).toBe("invalid");
  });

  it("is not shown to other hosts: redirects and token servers", async () => {
    await using registry = await serving();
    await using other = await serving();
    registry.misbehave = ({ url, authorization }, response) => {
      if (authorization === undefined) {
        response.setHeader("www-authenticate", "Basic");
        fail(response, 401, "UNAUTHORIZED", "who are you");
        return true;
      }
      if (!url.includes("/blobs/")) return false;
      response.writeHead(307, { location: `http://${other.host}${url}?signed=1` });
      response.end();
      return true;
    };
    other.misbehave = ({ url }, response) => {
      other.serve(
        {
          method: "GET",
          url: url.replace("?signed=1", ""),
          authorization: undefined,
          range: undefined,
          body: "",
          bytes: Buffer.alloc(0),
          headers: {},
        },
        response,
      );
      return true;
    };
    await pulled(registry, { registry: { ...FAST, credentials: USER } });
    expect(other.requests.length).toBe(2);
    expect(other.requests.every(({ authorization }) => authorization === undefined)).toBe(true);
    // A token server elsewhere on plain http gets no credentials either.
    other.requests.length = 0;
    other.misbehave = (_, response) => {
      response.end('{"token":"t"}');
      return true;
    };
    registry.misbehave = (_, response) => {
      response.setHeader("www-authenticate", `Bearer realm="http://${other.host}/token"`);
      fail(response, 401, "UNAUTHORIZED", "token please");
      return true;
    };
    expect((await refusal(registry, { registry: { ...FAST, credentials: USER } })).code).toBe("permission");
    expect(other.requests.every(({ authorization, url }) => authorization === undefined && !url.includes("ann"))).toBe(
      true,
    );
  });
});
