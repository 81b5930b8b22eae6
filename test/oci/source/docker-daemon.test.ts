// Images of a Docker engine (docs/spec/oci.md, section 2.1): where it is looked for, which version of its API is spoken, and what is said
// when there is none. That the images are right is a matter of the conformance suite.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { ProgressEvent } from "../../../src/progress.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import { openDaemonImage } from "../../../src/oci/source/docker-daemon.ts";
import { engineAddress } from "../../../src/oci/source/docker-engine.ts";
import { TestEngine } from "../../fixtures/docker-engine.ts";
import { tar } from "../../fixtures/tar.ts";
import { sampleImage, sampleLayer, sha256 } from "./conformance/sample.ts";
import { oldDockerSave } from "./conformance/transports.ts";

const image = sampleImage([sampleLayer(tar([{ path: "usr", type: "directory" }]))]);
const archive = tar(oldDockerSave([image]));
const platform = parsePlatform("linux/amd64");

let work: string;
let count = 0;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "composefs-engine-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const start = (names = ["os:v1"], socket?: string) => TestEngine.start(archive, names, socket);

async function refusal(name: string, env: Record<string, string>): Promise<unknown> {
  return openDaemonImage(name, { env }).then(
    () => "no refusal",
    (error: unknown) => error,
  );
}

async function opened(engine: TestEngine, name: string): Promise<string> {
  await using source = await openDaemonImage(name, { env: { DOCKER_HOST: engine.address } });
  const { bytes } = await source.resolve({ platform });
  return (JSON.parse(Buffer.from(bytes).toString("utf8")) as { config: { digest: string } }).config.digest;
}

describe("the address of an engine", () => {
  it("comes from DOCKER_HOST", () => {
    expect(engineAddress({})).toEqual({ kind: "unix", path: "/var/run/docker.sock" });
    expect(engineAddress({ DOCKER_HOST: "unix:///run/x.sock" })).toEqual({ kind: "unix", path: "/run/x.sock" });
    expect(engineAddress({ DOCKER_HOST: "tcp://h.example:99" })).toMatchObject({
      url: new URL("http://h.example:99"),
      certificates: undefined,
    });
    expect(engineAddress({ DOCKER_HOST: "tcp://h.example" })).toMatchObject({ url: new URL("http://h.example:2375") });
    const tls = { DOCKER_HOST: "tcp://h.example", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/certs" };
    expect(engineAddress(tls)).toMatchObject({ url: new URL("https://h.example:2376"), certificates: "/certs" });
  });

  it.each(["ssh://ann@h.example", "npipe:////./pipe/docker", "nonsense"])("may not be %s", (DOCKER_HOST) => {
    expect(() => engineAddress({ DOCKER_HOST })).toThrowError(
      expect.objectContaining({ code: "unsupported", hint: expect.stringContaining("docker save") }),
    );
  });

  it.each(["unix://relative.sock", "tcp://:x"])("may not be %s", (DOCKER_HOST) => {
    expect(() => engineAddress({ DOCKER_HOST })).toThrowError(expect.objectContaining({ code: "invalid" }));
  });
});

describe("an engine", () => {
  it("is asked over a unix socket and over TCP", async () => {
    await using local = await start(["os:v1"], join(work, "engine one.sock"));
    await using remote = await start();
    expect(await opened(local, "os:v1")).toBe(sha256(image.config));
    expect(await opened(remote, "os:v1")).toBe(sha256(image.config));
  });

  it.each([
    ["1.24", "/v1.24/images/os:v1/get"],
    ["1.43", "/v1.43/images/os:v1/get"],
    ["1.99", "/v1.47/images/os:v1/get"],
    ["2.0", "/v1.47/images/os:v1/get"],
    ["1.9", "/v1.9/images/os:v1/get"],
    ["nonsense", "/images/os:v1/get"],
    [undefined, "/images/os:v1/get"],
  ])("of API %s is asked for %s", async (version, path) => {
    await using engine = await start();
    engine.apiVersion = version;
    await opened(engine, "os:v1");
    expect(engine.paths).toEqual(["/_ping", path.replace(/get$/, "json"), path]);
  });

  it.each([
    ["os", "os:latest"],
    ["h.example:5000/project/os", "h.example:5000/project/os:latest"],
    ["docker.io/library/os:latest", "docker.io/library/os:latest"],
    [`os@sha256:${"0".repeat(64)}`, `os@sha256:${"0".repeat(64)}`],
    [`sha256:${"1".repeat(64)}`, `sha256:${"1".repeat(64)}`],
  ])("is asked for %s as %s", async (name, asked) => {
    await using engine = await start([asked]);
    expect(await opened(engine, name)).toBe(sha256(image.config));
  });

  it.each(["sha256:12", "OS:v1", "os:v1/../../info", "os:v1?x", "os v1"])("is not asked for %s", async (name) => {
    await using engine = await start();
    expect(await refusal(name, { DOCKER_HOST: engine.address })).toMatchObject({ code: "invalid" });
    expect(engine.paths).toEqual([]);
  });

  it("that has no such image says so", async () => {
    await using engine = await start();
    expect(await refusal("os:v2", { DOCKER_HOST: engine.address })).toMatchObject({
      code: "not-found",
      message: expect.stringMatching(/no image os:v2: .* answers 404 \(No such image: os:v2\)/),
      hint: expect.stringContaining("docker images"),
    });
    expect(engine.paths.some((path) => path.endsWith("/get"))).toBe(false);
  });

  it("that breaks off is not believed", async () => {
    await using engine = await start();
    engine.misbehave = (path, response) => {
      if (!path.endsWith("/get")) return false;
      response.write(archive.subarray(0, 600));
      setTimeout(() => response.destroy(), 20);
      return true;
    };
    expect(await refusal("os:v1", { DOCKER_HOST: engine.address })).toMatchObject({
      code: "io",
      message: expect.stringContaining("broke off"),
    });
    engine.misbehave = (path, response) => {
      if (path.endsWith("/get")) response.end(archive.subarray(0, 600));
      return path.endsWith("/get");
    };
    expect(await refusal("os:v1", { DOCKER_HOST: engine.address })).toMatchObject({ code: "invalid" });
    engine.misbehave = (path, response) => {
      if (path.endsWith("/get")) response.writeHead(500).end('{"message":"no space left on device"}');
      return path.endsWith("/get");
    };
    expect(await refusal("os:v1", { DOCKER_HOST: engine.address })).toMatchObject({
      code: "io",
      message: expect.stringContaining("500 (no space left on device)"),
    });
  });

  it("that is none is named, with what helps", async () => {
    const missing = join(work, "missing.sock");
    expect(await refusal("os:v1", { DOCKER_HOST: `unix://${missing}` })).toMatchObject({
      code: "not-found",
      path: missing,
      message: `cannot reach the Docker engine at ${missing}: there is no such socket`,
      hint: expect.stringMatching(/start Docker, or set DOCKER_HOST .*docker save/),
    });
    const dead = join(work, "dead.sock");
    writeFileSync(dead, "");
    expect(await refusal("os:v1", { DOCKER_HOST: `unix://${dead}` })).toMatchObject({
      code: "io",
      message: expect.stringContaining("connection refused"),
      hint: expect.stringContaining("DOCKER_HOST"),
    });
    await using other = await start();
    other.misbehave = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    expect(await refusal("os:v1", { DOCKER_HOST: other.address })).toMatchObject({
      code: "io",
      message: expect.stringContaining("is no Docker engine"),
    });
    expect(
      await refusal("os:v1", { DOCKER_HOST: "tcp://127.0.0.1:1", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: work }),
    ).toMatchObject({ code: "not-found", message: expect.stringContaining("ca.pem") });
  });

  it("reports how far it is", async () => {
    await using engine = await start();
    const events: ProgressEvent[] = [];
    await using _ = await openDaemonImage("os:v1", {
      env: { DOCKER_HOST: engine.address },
      onProgress: (event) => void events.push(event),
    });
    expect(events[0]).toMatchObject({ type: "start", kind: "copy", label: expect.stringContaining("os:v1") });
    expect(events.at(-2)).toMatchObject({ type: "advance", done: archive.length });
    expect(events.at(-1)).toMatchObject({ type: "done" });
  });

  it("is left when the caller wants to stop", async () => {
    await using engine = await start();
    const control = new AbortController();
    engine.misbehave = (path, response) => {
      if (!path.endsWith("/get")) return false;
      response.write(archive.subarray(0, 600));
      setTimeout(() => control.abort(), 20);
      return true;
    };
    const env = { DOCKER_HOST: engine.address };
    await expect(openDaemonImage("os:v1", { env, signal: control.signal })).rejects.toMatchObject({ code: "aborted" });
  });

  it("leaves no file behind", async () => {
    await using engine = await start();
    const saved = process.env["TMPDIR"];
    const own = join(work, `tmp-${count++}`);
    const { mkdirSync, readdirSync } = await import("node:fs");
    mkdirSync(own);
    process.env["TMPDIR"] = own;
    try {
      await opened(engine, "os:v1");
      expect(readdirSync(own)).toEqual([]);
    } finally {
      if (saved === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = saved;
    }
  });
});
