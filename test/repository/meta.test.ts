import { describe, expect, test } from "vitest";
import {
  checkMeta,
  effectiveFormats,
  equalMeta,
  newMeta,
  parseAlgorithmName,
  parseMeta,
  serializeMeta,
} from "../../src/repository/meta.ts";

const parse = (text: string) => parseMeta(Buffer.from(text), "meta.json");
const minimal = `"version": 1, "algorithm": "fsverity-sha256-12"`;

test("a new meta.json has exactly the recorded text", () => {
  expect(serializeMeta(newMeta("sha512", 1))).toBe(`{
  "version": 1,
  "algorithm": "fsverity-sha512-12",
  "features": {
    "compatible": [],
    "read-only-compatible": [
      "v1_erofs"
    ],
    "incompatible": []
  },
  "erofs_formats": {
    "default": 1
  }
}
`);
  for (const format of [0, 2] as const)
    expect(JSON.parse(serializeMeta(newMeta("sha256", format)))).toEqual({
      version: 1,
      algorithm: "fsverity-sha256-12",
      features: { compatible: [], "read-only-compatible": [], incompatible: [] },
      erofs_formats: { default: format },
    });
});

test("extra formats are written sorted, without duplicates, and left out when there are none", () => {
  const meta = parse(`{${minimal}, "erofs_formats": {"default": 1, "extra": [2, 0, 2, 1]}}`);
  expect(meta.erofsFormats).toEqual({ default: 1, extra: [0, 2] });
  expect(serializeMeta(meta)).toContain('"default": 1,\n    "extra": [\n      0,\n      2\n    ]');
});

test("what is written is read back", () => {
  for (const algorithm of ["sha256", "sha512"] as const)
    for (const format of [0, 1, 2] as const) {
      const meta = newMeta(algorithm, format);
      expect(equalMeta(parse(serializeMeta(meta)), meta)).toBe(true);
    }
  expect(equalMeta(newMeta("sha256", 1), newMeta("sha256", 2))).toBe(false);
});

describe("accepted", () => {
  for (const [name, text] of [
    ["only what is required", `{${minimal}}`],
    ["version 0", `{"version": 0, "algorithm": "fsverity-sha512-12"}`],
    ["unknown keys", `{${minimal}, "future": {"a": [1]}}`],
    ["empty features", `{${minimal}, "features": {}}`],
    ["white space around it", `\n {${minimal}} \n`],
  ] as const)
    test(name, () => {
      expect(checkMeta(parse(text), "meta.json")).toEqual({ writable: true });
    });
});

describe("refused", () => {
  for (const [name, text] of [
    ["an empty file", ""],
    ["a byte order mark", `\ufeff{${minimal}}`],
    ["trailing text", `{${minimal}} x`],
    ["no object", `[]`],
    ["null", `null`],
    ["no version", `{"algorithm": "fsverity-sha256-12"}`],
    ["a fraction as version", `{"version": 1.5, "algorithm": "fsverity-sha256-12"}`],
    ["a negative version", `{"version": -1, "algorithm": "fsverity-sha256-12"}`],
    ["a version over 32 bits", `{"version": 4294967296, "algorithm": "fsverity-sha256-12"}`],
    ["a text as version", `{"version": "1", "algorithm": "fsverity-sha256-12"}`],
    ["no algorithm", `{"version": 1}`],
    ["another hash", `{"version": 1, "algorithm": "fsverity-sha1-12"}`],
    ["another block size", `{"version": 1, "algorithm": "fsverity-sha256-16"}`],
    ["no block size", `{"version": 1, "algorithm": "fsverity-sha256"}`],
    ["only a prefix", `{"version": 1, "algorithm": "fsverity-"}`],
    ["no prefix", `{"version": 1, "algorithm": "sha256-12"}`],
    ["null as features", `{${minimal}, "features": null}`],
    ["features that are no lists", `{${minimal}, "features": {"compatible": "x"}}`],
    ["features that are no texts", `{${minimal}, "features": {"incompatible": [1]}}`],
    ["formats without a default", `{${minimal}, "erofs_formats": {}}`],
    ["null as formats", `{${minimal}, "erofs_formats": null}`],
    ["format 3", `{${minimal}, "erofs_formats": {"default": 3}}`],
    ["extra format 3", `{${minimal}, "erofs_formats": {"default": 1, "extra": [3]}}`],
    ["null as extra formats", `{${minimal}, "erofs_formats": {"default": 1, "extra": null}}`],
    ["invalid UTF-8", Buffer.from([0x7b, 0xff, 0x7d])],
    ["over a mebibyte", `{${minimal}, "x": "${"y".repeat(1 << 20)}"}`],
  ] as const)
    test(name, () => {
      expect(() => parseMeta(Buffer.from(text), "R/meta.json")).toThrowError(
        expect.objectContaining({ code: "invalid", message: expect.stringMatching(/^R\/meta\.json: /) }),
      );
    });

  test("a newer version, and unknown incompatible features", () => {
    expect(() => checkMeta(parse(`{"version": 2, "algorithm": "fsverity-sha256-12"}`), "m")).toThrowError(
      "unsupported repository format version 2 (this tool supports up to 1)",
    );
    expect(() => checkMeta(parse(`{${minimal}, "features": {"incompatible": ["future"]}}`), "m")).toThrowError(
      `repository requires unknown incompatible features: ["future"]`,
    );
  });
});

test("unknown features of the other classes: ignored, or reading only", () => {
  const features = (key: string) => parse(`{${minimal}, "features": {"${key}": ["v1_erofs", "future"]}}`);
  expect(checkMeta(features("compatible"), "m")).toEqual({ writable: true });
  expect(checkMeta(features("read-only-compatible"), "m")).toEqual({
    writable: false,
    reason: expect.stringContaining("future"),
  });
});

test("effective formats", () => {
  const formats = (rest: string) => effectiveFormats(parse(`{${minimal}${rest}}`));
  const v1 = `, "features": {"read-only-compatible": ["v1_erofs"]}`;
  expect(formats("")).toEqual([2]);
  expect(formats(v1)).toEqual([1]);
  expect(formats(`${v1}, "erofs_formats": {"default": 2}`)).toEqual([1]);
  expect(formats(`${v1}, "erofs_formats": {"default": 2, "extra": [2]}`)).toEqual([1]);
  expect(formats(`${v1}, "erofs_formats": {"default": 2, "extra": [1]}`)).toEqual([2, 1]);
  expect(formats(`, "erofs_formats": {"default": 0}`)).toEqual([0]);
  expect(formats(`, "erofs_formats": {"default": 1, "extra": [2, 1, 0]}`)).toEqual([1, 0, 2]);
});

test("algorithm names split at the last dash", () => {
  expect(parseAlgorithmName("fsverity-sha512-12")).toBe("sha512");
  expect(() => parseAlgorithmName("fsverity-sha512-16", "usage")).toThrowError(
    expect.objectContaining({ code: "usage", message: expect.stringContaining("2^16") }),
  );
});
