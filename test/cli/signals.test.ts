// Ctrl-C, readers that go away, and colours.

import { type ChildProcess, execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { COMPOSEFS, run, RUNTIME, sendSignal, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const layout = join(directory, "layout");
const sh = promisify(execFile);

/** A layout whose one layer takes a while: many files of their own content. */
function bigLayout(path: string): void {
  const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  mkdirSync(join(path, "blobs/sha256"), { recursive: true });
  const blob = (mediaType: string, bytes: Uint8Array) => {
    writeFileSync(join(path, "blobs/sha256", sha256(bytes)), bytes);
    return { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const parts: Buffer[] = [];
  const entry = (name: string, type: string, data: Buffer) => {
    const head = Buffer.alloc(512);
    head.write(name);
    const octal = (at: number, length: number, value: number) =>
      head.write(value.toString(8).padStart(length - 1, "0"), at);
    octal(100, 8, 0o755);
    octal(108, 8, 0);
    octal(116, 8, 0);
    octal(124, 12, data.length);
    octal(136, 12, 0);
    head.write(`        ${type}`, 148);
    head.write("ustar\u000000", 257, "latin1");
    octal(
      148,
      7,
      head.reduce((sum, byte) => sum + byte, 0),
    );
    parts.push(head, data, Buffer.alloc((512 - (data.length % 512)) % 512));
  };
  entry("usr/", "5", Buffer.alloc(0));
  for (let i = 0; i < 1500; i++) entry(`usr/file-${i}`, "0", Buffer.alloc(50_000, `content of ${i} `));
  const layer = Buffer.concat([...parts, Buffer.alloc(1024)]);
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const config = blob(
    "application/vnd.oci.image.config.v1+json",
    json({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] } }),
  );
  const manifest = blob(
    "application/vnd.oci.image.manifest.v1+json",
    json({ schemaVersion: 2, config, layers: [blob("application/vnd.oci.image.layer.v1.tar", layer)] }),
  );
  writeFileSync(join(path, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(path, "index.json"), json({ schemaVersion: 2, manifests: [manifest] }));
}

beforeAll(() => bigLayout(layout));

/** Sends the signal when the first objects are there. */
function signalAmidst(repository: string, signal: NodeJS.Signals): (child: ChildProcess) => void {
  const objects = join(repository, "objects");
  return (child) => {
    const timer = setInterval(() => {
      if (!existsSync(objects) || readdirSync(objects).length < 3) return;
      clearInterval(timer);
      sendSignal(child, signal);
    }, 2);
    child.once("exit", () => clearInterval(timer));
  };
}

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s", (signal, status) => {
  it("stops a pull with a clear last line, publishes nothing, and the next pull goes on", async () => {
    const repository = join(directory, signal);
    await run(["init", "--insecure", repository]);
    const words = ["--repo", repository, "oci", "pull", "--platform", "linux/amd64", `oci:${layout}`, "big"];
    const stopped = await run([...words, "--quiet"], { onStart: signalAmidst(repository, signal) });
    expect(stopped).toMatchObject({ status, stdout: "" });
    expect(stopped.stderr).toMatch(
      /^composefs: interrupted; nothing of the image was published\..* run the same pull again.*\n$/,
    );
    expect(existsSync(join(repository, "streams/refs/oci/big"))).toBe(false);
    const left = readdirSync(join(repository, "objects"), { recursive: true }) as string[];
    expect(left.filter((name) => name.includes(".tmp"))).toEqual([]);
    const again = await run(words);
    expect(again.status).toBe(0);
    expect(again.stdout).toMatch(/^objects {2}\d+ new \+ [1-9]\d* already present objects/m);
  });
});

it("is an event when progress is JSON", async () => {
  const repository = join(directory, "json");
  await run(["init", "--insecure", repository]);
  const words = ["--repo", repository, "oci", "pull", "--progress=json", "--platform", "linux/amd64", `oci:${layout}`];
  const { status, stderr } = await run(words, { onStart: signalAmidst(repository, "SIGINT") });
  expect(status).toBe(130);
  const lines = stderr
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  expect(lines.at(-1)).toMatchObject({ type: "error", code: "aborted" });
  expect(lines).toContainEqual({ type: "note", message: "stopping and cleaning up (Ctrl-C again stops at once)" });
});

describe("a reader that goes away", () => {
  it("ends the program in silence", async () => {
    const repository = join(directory, "pipe");
    await run(["init", "--insecure", repository]);
    await run(["--repo", repository, "oci", "pull", "--platform", "linux/amd64", `oci:${layout}`, "big"]);
    const line = `$RUNTIME "$PROGRAM" --repo "$REPO" oci dump big | head -n 1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await sh("bash", ["--norc", "-c", line], {
      env: { PATH: process.env["PATH"], RUNTIME: RUNTIME.join(" "), PROGRAM: COMPOSEFS, REPO: repository },
    });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^\/ 0 40755 .*\n0\n$/);
  });
});

describe.skipIf(!existsSync("/dev/full"))("a full disk under stdout", () => {
  it("is a failure with a reason, not a crash", async () => {
    const line = `$RUNTIME "$PROGRAM" --help > /dev/full; echo $?`;
    const { stdout, stderr } = await sh("bash", ["--norc", "-c", line], {
      env: { PATH: process.env["PATH"], RUNTIME: RUNTIME.join(" "), PROGRAM: COMPOSEFS },
    });
    expect(stderr).toBe(
      "composefs: writing the result: no space left on device\nhint: free some space, or choose another place\n",
    );
    expect(stdout).toBe("1\n");
  });
});

describe("colours", () => {
  // `script` gives the program a terminal.
  const onTerminal = async (env: Record<string, string>, ...words: string[]) => {
    const line = [...RUNTIME, COMPOSEFS, "--repo", join(directory, "colour"), ...words]
      .map((word) => `'${word}'`)
      .join(" ");
    const { stdout } = await sh("script", ["-qec", line, "/dev/null"], {
      env: { PATH: process.env["PATH"], HOME: directory, TERM: "xterm", ...env },
    });
    return stdout;
  };

  beforeAll(async () => {
    await run(["init", "--insecure", join(directory, "colour")]);
  });

  const words = ["oci", "pull", "--platform", "linux/amd64", `oci:${layout}`, "big"];
  const hasScript = existsSync("/usr/bin/script");

  it.skipIf(!hasScript)("bars on a terminal, coloured; the table in a box", async () => {
    const text = await onTerminal({}, ...words);
    expect(text).toContain("\u001B[36m[#");
    expect(text).toContain("tagged   big");
    expect(await onTerminal({}, "oci", "images")).toContain("┌");
  });

  it.skipIf(!hasScript)("none with NO_COLOR or --no-color", async () => {
    for (const [env, ...more] of [[{ NO_COLOR: "1" }], [{}, "--no-color"]] as const) {
      const repository = join(directory, "colour");
      await run(["--repo", repository, "oci", "untag", "big"]);
      expect(await onTerminal(env, ...more, ...words)).not.toContain("\u001B[36m");
    }
  });
});
