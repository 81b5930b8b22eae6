// Challenges, credentials and waits of the registry client (docs/spec/oci.md, sections 3.3 and 3.4), without a registry.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { afterAll, beforeEach, describe, expect, it } from "vitest";

import { answerChallenge, parseToken } from "../../../src/oci/registry/authorize.ts";
import { parseChallenges } from "../../../src/oci/registry/challenge.ts";
import { findCredentials } from "../../../src/oci/registry/credentials.ts";
import { backoff, retryAfter } from "../../../src/oci/registry/retry.ts";
import { parseRegistryName } from "../../../src/oci/reference.ts";

describe("challenges", () => {
  it.each<[string, [string, Record<string, string>][]]>([
    ["Basic", [["basic", {}]]],
    ['basic REALM="a, b"', [["basic", { realm: "a, b" }]]],
    [
      'Bearer realm="https://h/t",service=s , scope="x:y:z"',
      [["bearer", { realm: "https://h/t", service: "s", scope: "x:y:z" }]],
    ],
    ['Bearer realm="a\\"b\\\\c"', [["bearer", { realm: 'a"b\\c' }]]],
    [
      'Negotiate, Basic realm="x", Bearer realm = "y"',
      [
        ["negotiate", {}],
        ["basic", { realm: "x" }],
        ["bearer", { realm: "y" }],
      ],
    ],
    [
      'Bearer realm="unclosed',
      [
        ["bearer", {}],
        ["realm", {}],
      ].slice(0, 1) as never,
    ],
    ["", []],
    [",,,", []],
    ["Bearer __proto__=x", [["bearer", JSON.parse('{"__proto__":"x"}') as Record<string, string>]]],
  ])("%s", (header, expected) => {
    const found = parseChallenges(header).map(({ scheme, parameters }) => [scheme, { ...parameters }]);
    expect(found).toEqual(expected.map(([scheme, parameters]) => [scheme, { ...parameters }]));
  });

  it("of any length end soon", () => {
    const start = performance.now();
    for (const text of ["a=".repeat(50_000), '"\\'.repeat(50_000), `Bearer ${"a ".repeat(50_000)}`])
      parseChallenges(text);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe("tokens", () => {
  const asker = { path: "p/os", registry: new URL("https://h.example/v2/") };

  it("are asked for with an identity token by a form", () => {
    const credentials = { kind: "identity", token: "refresh" } as const;
    const answer = answerChallenge('Bearer realm="https://auth.example/t",service="s"', { ...asker, credentials });
    if (answer?.kind !== "token") throw new Error("no token is asked for");
    expect(answer.request.method).toBe("POST");
    expect(Object.fromEntries(new URLSearchParams(answer.request.body))).toEqual({
      grant_type: "refresh_token",
      service: "s",
      scope: "repository:p/os:pull",
      client_id: "composefs",
      refresh_token: "refresh",
    });
  });

  it("are not asked for with credentials over plain http elsewhere", () => {
    const credentials = { kind: "basic", username: "ann", password: "secret" } as const;
    const answer = answerChallenge('Bearer realm="http://auth.example/t"', { ...asker, credentials });
    if (answer?.kind !== "token") throw new Error("no token is asked for");
    expect(JSON.stringify(answer.request)).not.toMatch(/ann|authorization/i);
  });

  it("live a minute at least, less ten seconds", () => {
    const left = ({ expires }: { expires: number }) => Math.round((expires - performance.now()) / 1000);
    expect(left(parseToken(Buffer.from('{"token":"t"}'), "h"))).toBe(50);
    expect(left(parseToken(Buffer.from('{"access_token":"t","expires_in":3}'), "h"))).toBe(50);
    expect(left(parseToken(Buffer.from('{"token":"t","expires_in":300}'), "h"))).toBe(290);
  });
});

describe("waits", () => {
  it("follow Retry-After up to a minute", () => {
    expect(retryAfter("7")).toBe(7000);
    expect(retryAfter("100000")).toBe(60_000);
    expect(retryAfter(new Date(5000).toUTCString(), 2000)).toBe(3000);
    expect(retryAfter(new Date(1000).toUTCString(), 2000)).toBe(0);
    expect(retryAfter("soon")).toBeUndefined();
    expect(retryAfter(undefined)).toBeUndefined();
  });
  it("grow, up to half a minute", () => {
    expect(backoff(1, 1000)).toBeLessThanOrEqual(2000);
    expect(backoff(60, 1000)).toBeLessThanOrEqual(30_000);
    expect(backoff(60, 1000)).toBeGreaterThanOrEqual(15_000);
  });
});

describe("credentials", () => {
  const work = mkdtempSync(join(tmpdir(), "composefs-credentials-"));
  afterAll(() => rmSync(work, { recursive: true, force: true }));
  let home: string;
  let env: Record<string, string | undefined>;
  let count = 0;
  beforeEach(() => {
    home = join(work, String(count++));
    mkdirSync(home);
    env = { HOME: home, XDG_RUNTIME_DIR: join(home, "run"), PATH: `${join(home, "bin")}:${process.env["PATH"]}` };
  });
  const put = (path: string, document: unknown) => {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), JSON.stringify(document));
    return join(home, path);
  };
  const auth = (text: string) => ({ auth: Buffer.from(text).toString("base64") });
  const find = (name: string, authFile?: string) => findCredentials(parseRegistryName(name), { env, authFile });
  const basic = (username: string, password: string) => ({ kind: "basic", username, password });

  it("come from the first file that has them", async () => {
    expect(await find("h.example/a/b")).toBeUndefined();
    const order = ["given.json", "run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json"];
    for (const [i, path] of order.entries())
      put(path, { auths: { "h.example": auth(`user${i}:x`), [`only${i}.example`]: auth(`only${i}:x`) } });
    put(".dockercfg", { "old.example": auth("old:x") });
    const given = join(home, "given.json");
    expect(await find("h.example/a", given)).toEqual(basic("user0", "x"));
    expect(await find("h.example/a")).toEqual(basic("user1", "x"));
    for (let i = 1; i < 4; i++) expect(await find(`only${i}.example/a`, given)).toEqual(basic(`only${i}`, "x"));
    expect(await find("old.example/a")).toEqual(basic("old", "x"));
    env["REGISTRY_AUTH_FILE"] = given;
    expect(await find("h.example/a")).toEqual(basic("user0", "x"));
    await expect(find("h.example/a", join(home, "missing.json"))).rejects.toMatchObject({ code: "not-found" });
  });

  it("are those of the longest key", async () => {
    put("run/containers/auth.json", {
      auths: {
        "h.example": auth("host:1"),
        "h.example/a": auth("space:2"),
        "h.example/a/b": auth("repository:3:4\0\0"),
        "https://url.example:5000/v2/": auth("url:5"),
        "https://index.docker.io/v1/": auth("hub:6"),
        "token.example": { identitytoken: "T" },
      },
    });
    expect(await find("h.example/a/b")).toEqual(basic("repository", "3:4"));
    expect(await find("h.example/a/c")).toEqual(basic("space", "2"));
    expect(await find("h.example/ab")).toEqual(basic("host", "1"));
    expect(await find("url.example:5000/x")).toEqual(basic("url", "5"));
    expect(await find("debian")).toEqual(basic("hub", "6"));
    expect(await find("token.example/x")).toEqual({ kind: "identity", token: "T" });
    expect(await find("other.example/x")).toBeUndefined();
  });

  it("come from helpers", async () => {
    mkdirSync(join(home, "bin"));
    const script = join(home, "bin/docker-credential-test");
    writeFileSync(
      script,
      `#!/bin/sh\nread server\necho "$server" >> ${home}/asked\ncase "$server" in\n` +
        `one.example) echo '{"ServerURL":"x","Username":"u","Secret":"s"}';;\n` +
        `two.example) echo '{"Username":"<token>","Secret":"s"}';;\n` +
        `bad.example) echo 'locked'; exit 3;;\n` +
        `*) echo 'credentials not found in native keychain'; exit 1;;\nesac\n`,
    );
    chmodSync(script, 0o755);
    put(".docker/config.json", {
      auths: { "one.example": auth("file:x"), "three.example": auth("file:x") },
      credsStore: "test",
      credHelpers: { "gone.example": "gone", "evil.example": "../../evil" },
    });
    expect(await find("one.example/a")).toEqual(basic("u", "s"));
    expect(await find("two.example/a")).toEqual({ kind: "identity", token: "s" });
    expect(await find("three.example/a")).toEqual(basic("file", "x"));
    await expect(find("bad.example/a")).rejects.toMatchObject({
      code: "io",
      message: expect.stringContaining("locked"),
    });
    await expect(find("gone.example/a")).rejects.toMatchObject({
      hint: expect.stringContaining("install docker-credential-gone"),
    });
    await expect(find("evil.example/a")).rejects.toMatchObject({ code: "invalid" });
    expect(await find("debian")).toBeUndefined();
    expect(readFileSync(join(home, "asked"), "utf8")).toContain("https://index.docker.io/v1/\n");
  });

  it.each([
    ["{"],
    ['{"auths":{"h.example":"bm9jb2xvbg=="}}'],
    ['{"auths":{"h.example":{"auth":"bm9jb2xvbg=="}}}'],
    ['{"auths":7}'],
  ])("in a damaged file %s are refused", async (text) => {
    mkdirSync(join(home, "run/containers"), { recursive: true });
    writeFileSync(join(home, "run/containers/auth.json"), text);
    await expect(find("h.example/a")).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining("auth.json"),
    });
  });
});
