// Layouts that are written (docs/spec/oci.md, section 2.3): nothing under a wrong name, nothing lost when something fails.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { contentDigest } from "../../src/oci/digest.ts";
import { LayoutWriter } from "../../src/oci/layout-write.ts";

const work = mkdtempSync(join(tmpdir(), "layout-write-test-"));
afterAll(() => rmSync(work, { recursive: true }));
let number = 0;
const place = () => join(work, String(number++));

const platform = { os: "linux", architecture: "amd64" };
const index = (directory: string) =>
  JSON.parse(readFileSync(join(directory, "index.json"), "utf8")) as { manifests: { digest: string }[] };
const blob = (text: string) => {
  const bytes = Buffer.from(text);
  return { mediaType: "text/plain", digest: contentDigest(bytes), size: bytes.length, bytes };
};

describe("a layout", () => {
  it("is made when something is written, and not before", async () => {
    const directory = place();
    const writer = LayoutWriter.open(directory);
    expect(readdirSync(work)).not.toContain(directory.slice(work.length + 1));
    const manifest = await writer.putBytes(Buffer.from("{}"), "m");
    // Cut short here, it can be taken up again.
    await LayoutWriter.open(directory).publish(manifest, "v1", platform);
    expect(readdirSync(directory).toSorted()).toEqual(["blobs", "index.json", "oci-layout"]);
    expect(JSON.parse(readFileSync(join(directory, "oci-layout"), "utf8"))).toEqual({ imageLayoutVersion: "1.0.0" });
    expect(index(directory).manifests).toEqual([
      { ...manifest, annotations: { "org.opencontainers.image.ref.name": "v1" } },
    ]);
  });

  it("keeps what it had: other tags, other platforms of the tag, and keys that nobody knows", async () => {
    const directory = place();
    mkdirSync(directory);
    const entry = (digest: string, ref: string | undefined, architecture?: string) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: `sha256:${digest.repeat(64)}`,
      size: 1,
      ...(architecture === undefined ? {} : { platform: { os: "linux", architecture } }),
      ...(ref === undefined ? {} : { annotations: { "org.opencontainers.image.ref.name": ref } }),
    });
    const old = [
      entry("1", "v1", "amd64"),
      entry("2", "v1", "arm64"),
      entry("3", "v2"),
      entry("4", undefined),
      entry("5", "v1"),
    ];
    const document = { schemaVersion: 2, "org.example": [1], manifests: old, annotations: { a: "b" } };
    writeFileSync(join(directory, "index.json"), JSON.stringify(document));
    const writer = LayoutWriter.open(directory);
    const manifest = await writer.putBytes(Buffer.from("{}"), "m");
    await writer.publish(manifest, "v1", platform);
    const { manifests, ...rest } = index(directory);
    expect(rest).toEqual({ schemaVersion: 2, "org.example": [1], annotations: { a: "b" } });
    expect(manifests).toEqual([
      old[1],
      old[2],
      old[3],
      { ...manifest, platform, annotations: { "org.opencontainers.image.ref.name": "v1" } },
    ]);
    await writer.publish(manifest, undefined, platform);
    expect(index(directory).manifests.map(({ digest }) => digest)).toEqual(
      [old[1], old[2], manifest, manifest].map((one) => one?.digest),
    );
  });

  it("has no blob under a wrong name", async () => {
    const directory = place();
    const writer = LayoutWriter.open(directory);
    const { bytes, ...good } = blob("good");
    for (const content of ["bad!", "goo", "goodgood"]) {
      await expect(writer.put(good, [Buffer.from(content)])).rejects.toMatchObject({ code: "digest-mismatch" });
    }
    const failing = (function* () {
      yield bytes.subarray(0, 2);
      throw new Error("the source broke");
    })();
    await expect(writer.put(good, failing)).rejects.toThrow("the source broke");
    await expect(writer.put(good, [bytes], AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
    expect(readdirSync(join(directory, "blobs/sha256"))).toEqual([]);
    expect(writer.has(good)).toBe(false);
    await writer.put(good, [bytes]);
    expect(writer.has(good)).toBe(true);
    expect(writer.has({ ...good, size: 5 })).toBe(false);
  });

  it("is not made of something else", () => {
    const directory = place();
    mkdirSync(directory);
    writeFileSync(join(directory, "precious"), "");
    expect(() => LayoutWriter.open(directory)).toThrow("no OCI layout");
    expect(() => LayoutWriter.open(join(directory, "precious"))).toThrow(/no OCI layout|not a directory/);
    const broken = place();
    mkdirSync(broken);
    writeFileSync(join(broken, "index.json"), "{}");
    expect(() => LayoutWriter.open(broken)).toThrow("index.json");
  });
});
