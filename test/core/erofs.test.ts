// The image writer against the golden images: dump text in whole and odd pieces, both image digests, every refusal.

import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ErofsWriter } from "../../src/core/erofs.ts";
import { ComposefsError } from "../../src/error.ts";
import { type ImageOptions, writeImageFromDump } from "../../src/image/write.ts";
import { type GoldenImage, goldenDump, goldenImages } from "./erofs-goldens.ts";

const images = goldenImages();
const good = images.filter(({ want }) => want.error === undefined);
const refused = images.filter(({ want }) => want.error !== undefined);
const title = ({ file, variant }: GoldenImage) => [`${file} ${variant}`, { file, variant }] as const;

/** Cuts the bytes into pieces whose lengths go through the list again and again. */
function* split(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] as number;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

async function write(source: Iterable<Uint8Array>, options: ImageOptions) {
  const sha256 = createHash("sha256");
  let size = 0;
  const written = await writeImageFromDump(source, options, (chunk) => {
    sha256.update(chunk);
    size += chunk.length;
  });
  expect(written.size).toBe(size);
  return { ...written, sha256: sha256.digest("hex") };
}

test("there are golden images of every version and dialect", () => {
  expect(new Set(good.map(({ variant }) => variant))).toEqual(
    new Set(["v0", "v0_noupgrade", "v1", "v2", "v0_rs", "v1_rs"]),
  );
  expect(refused.length).toBeGreaterThan(0);
});

describe.each(good.map((image) => [...title(image), image] as const))("%s", (_, __, { file, options, want }) => {
  test("is the golden image", async () => {
    const written = await write([goldenDump(file)], { ...options, imageAlgorithm: "sha256" });
    expect(written).toMatchObject({ size: want.size, sha256: want.sha256, id: want.fsverity_sha256 });
    if (want.composefs_version !== undefined) expect(written.version).toBe(want.composefs_version);
  });

  test("has the golden sha512 id, from odd pieces", async () => {
    const pieces = split(goldenDump(file), [1, 7, 64, 3, 1021]);
    const written = await write(pieces, { ...options, imageAlgorithm: "sha512" });
    expect(written).toMatchObject({ size: want.size, sha256: want.sha256, id: want.fsverity_sha512 });
  });

  test("has the golden ids when the core hashes", () => {
    for (const [image, id] of [
      ["sha256", want.fsverity_sha256],
      ["sha512", want.fsverity_sha512],
    ] as const) {
      const { version, maxVersion = version, dialect = "rs", algorithm: objects } = options;
      using writer = new ErofsWriter({ version, maxVersion, dialect, objects, image });
      // Through the window, as a host that sees the memory does.
      for (const piece of split(goldenDump(file), [5000])) {
        writer.window(piece.length).set(piece);
        writer.advance(piece.length);
      }
      writer.finish();
      while (writer.pullWindow() !== undefined);
      expect(writer.digest()).toBe(id);
    }
  });
});

/** Where and why each golden dump is refused: line, field, and a word of the message. */
const REASONS: Record<string, [line: number, field: string, word: RegExp]> = {
  "bad-content-size.dump": [2, "CONTENT", /content has \d+ bytes, but SIZE is/],
  "bad-dot-name.dump": [2, "PATH", /component of the path is \./],
  "bad-duplicate.dump": [3, "PATH", /already an entry/],
  "bad-file-type.dump": [2, "MODE", /no file type/],
  "bad-no-parent.dump": [2, "PATH", /no line before this one for the parent directory/],
  "bad-no-root.dump": [1, "PATH", /first line must be that of the root/],
  "device-rdev-33bit.dump": [2, "RDEV", /number up to 4294967295/],
  "ext-too-big.dump": [2, "SIZE", /larger than 2\^53/],
  "hardlink-forward.dump": [2, "PAYLOAD", /earlier line/],
  "hardlink-loop.dump": [2, "PAYLOAD", /leads back to itself|earlier line/],
  "hardlink-missing.dump": [2, "PAYLOAD", /no entry for the link target/],
  "hardlink-to-dir.dump": [3, "PAYLOAD", /directory cannot have a second name/],
  "inline-5001.dump": [2, "CONTENT", /longer than \d+ bytes/],
  "name-256.dump": [2, "PATH", /longer than 255/],
  "symlink-1025.dump": [2, "PAYLOAD", /longer than 1024/],
  "symlink-4096.dump": [2, "PAYLOAD", /longer than \d+ bytes/],
  "whiteout-hardlinked.dump": [3, "PAYLOAD", /whiteout .* exactly one name/],
  "xattr-empty-name.dump": [2, "XATTR", /empty name/],
  "xattr-space-over.dump": [2, "XATTR", /at most 32767/],
};

/** Contents and targets that only composefs-rs finds too long. */
function expectedReason({ file, options }: GoldenImage): [line: number | undefined, field: string, word: RegExp] {
  // composefs-rs looks at the column already.
  if (file === "whiteout-hardlinked.dump" && options.dialect === "rs") return [2, "NLINK", /exactly one name/];
  if (/^inline-\d+\.dump$/.test(file)) return [undefined, "CONTENT", /longer than \d+ bytes/];
  if (/^symlink-\d+\.dump$/.test(file)) return [undefined, "PAYLOAD", /longer than \d+ bytes/];
  return REASONS[file] ?? [undefined, "", /./];
}

test.each(refused.map((image) => [...title(image), image] as const))("%s is refused", async (_, __, image) => {
  const error = await write([goldenDump(image.file)], image.options).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ComposefsError);
  const { code, line, path, message } = error as ComposefsError;
  const [wantedLine, field, word] = expectedReason(image);
  expect(["invalid", "limit"]).toContain(code);
  if (wantedLine === undefined) expect(line).toBeGreaterThan(1);
  else expect(line).toBe(wantedLine);
  expect(message).toContain(`line ${line}, ${field}`);
  expect(message).toMatch(word);
  expect(path).toMatch(/^\//);
});
