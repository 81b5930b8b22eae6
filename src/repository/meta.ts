// meta.json: what a repository is (docs/spec/repository.md, section 2).

import type { Algorithm } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";

/** An EROFS format number: 0 and 1 are the C-compatible layouts, 2 is the older one. */
export type ErofsFormat = 0 | 1 | 2;

/** Name of an algorithm in meta.json and on the command line. */
export type AlgorithmName = "fsverity-sha256-12" | "fsverity-sha512-12";

/** The content of meta.json; members as in the file. */
export interface Meta {
  version: number;
  algorithm: Algorithm;
  features: { compatible: string[]; readOnlyCompatible: string[]; incompatible: string[] };
  /** undefined when the file does not have it. */
  erofsFormats: { default: ErofsFormat; extra: ErofsFormat[] } | undefined;
}

/** The highest version that is understood. */
export const META_VERSION = 1;
/** The read-only-compatible feature of repositories whose default image format is 1. */
export const V1_EROFS = "v1_erofs";
/** Name of the file. */
export const META_FILE = "meta.json";
/** No meta.json is larger. */
const MAX_META_BYTES = 1 << 20;

/** The long name of an algorithm. */
export function algorithmName(algorithm: Algorithm): AlgorithmName {
  return `fsverity-${algorithm}-12`;
}

/**
 * The algorithm of a long name such as `fsverity-sha512-12`.
 *
 * @throws ComposefsError `code` when it is not one
 */
export function parseAlgorithmName(name: string, code: "usage" | "invalid" = "invalid"): Algorithm {
  const hint = "known are fsverity-sha256-12 and fsverity-sha512-12";
  if (!name.startsWith("fsverity-"))
    throw new ComposefsError(code, `unknown algorithm "${name}": it must begin with "fsverity-"`, { hint });
  const dash = name.lastIndexOf("-");
  const hash = name.slice("fsverity-".length, Math.max(dash, "fsverity-".length));
  const block = name.slice(dash + 1);
  if (hash !== "sha256" && hash !== "sha512")
    throw new ComposefsError(code, `unknown algorithm "${name}": its hash is neither sha256 nor sha512`, { hint });
  if (block !== "12")
    throw new ComposefsError(code, `unsupported block size 2^${block} in algorithm "${name}", only 2^12 is supported`, {
      hint,
    });
  return hash;
}

/** The meta.json of a new repository. */
export function newMeta(algorithm: Algorithm, format: ErofsFormat): Meta {
  return {
    version: META_VERSION,
    algorithm,
    features: { compatible: [], readOnlyCompatible: format === 1 ? [V1_EROFS] : [], incompatible: [] },
    erofsFormats: { default: format, extra: [] },
  };
}

/** The exact text of the file. */
export function serializeMeta(meta: Meta): string {
  const document: Record<string, unknown> = {
    version: meta.version,
    algorithm: algorithmName(meta.algorithm),
    features: {
      compatible: meta.features.compatible,
      "read-only-compatible": meta.features.readOnlyCompatible,
      incompatible: meta.features.incompatible,
    },
  };
  if (meta.erofsFormats) {
    const { default: first, extra } = meta.erofsFormats;
    document.erofs_formats = extra.length > 0 ? { default: first, extra: sortedFormats(extra) } : { default: first };
  }
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * Parses the file. Unknown keys are ignored; types, required keys and the algorithm are checked. Version and features
 * are checked by {@link checkMeta}.
 *
 * @param path for messages
 */
export function parseMeta(bytes: Uint8Array, path: string): Meta {
  const fail = (message: string, cause?: unknown) =>
    new ComposefsError("invalid", `${path}: ${message}`, {
      path,
      cause,
      hint: "the repository cannot be opened as it is",
    });
  if (bytes.length > MAX_META_BYTES) throw fail(`${bytes.length} bytes are too many for a ${META_FILE}`);
  let document: unknown;
  try {
    // A byte order mark stays in the text and makes JSON.parse refuse it, as it must be.
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw fail(`not a JSON document: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  const object = record(document, "the document", fail);
  const version = object.version;
  if (!isUint32(version)) throw fail(`"version" must be a number from 0 to 4294967295`);
  if (typeof object.algorithm !== "string") throw fail(`"algorithm" must be a string`);
  let algorithm: Algorithm;
  try {
    algorithm = parseAlgorithmName(object.algorithm);
  } catch (cause) {
    throw fail((cause as Error).message, cause);
  }
  const features = object.features === undefined ? {} : record(object.features, `"features"`, fail);
  const list = (key: string) => {
    const value = features[key];
    if (value === undefined) return [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
      throw fail(`"features.${key}" must be a list of strings`);
    return value;
  };
  return {
    version,
    algorithm,
    features: {
      compatible: list("compatible"),
      readOnlyCompatible: list("read-only-compatible"),
      incompatible: list("incompatible"),
    },
    erofsFormats: object.erofs_formats === undefined ? undefined : parseFormats(object.erofs_formats, fail),
  };
}

/** Refuses what cannot be opened at all. The result says whether the repository may be written. */
export function checkMeta(meta: Meta, path: string): { writable: true } | { writable: false; reason: string } {
  if (meta.version > META_VERSION)
    throw new ComposefsError(
      "incompatible",
      `unsupported repository format version ${meta.version} (this tool supports up to ${META_VERSION})`,
      { path, hint: "use a newer version of this tool for this repository" },
    );
  if (meta.features.incompatible.length > 0)
    throw new ComposefsError(
      "incompatible",
      `repository requires unknown incompatible features: ${JSON.stringify(meta.features.incompatible)}`,
      { path, hint: "use a newer version of this tool for this repository" },
    );
  const unknown = meta.features.readOnlyCompatible.filter((feature) => feature !== V1_EROFS);
  if (unknown.length === 0) return { writable: true };
  return {
    writable: false,
    reason: `it has features that allow only reading with this tool: ${JSON.stringify(unknown)}`,
  };
}

/** The image formats that a commit writes: the default one first, then the extra ones ascending (section 2.1). */
export function effectiveFormats(meta: Meta): ErofsFormat[] {
  const formats = meta.erofsFormats ?? { default: 2, extra: [] };
  const extra = sortedFormats(formats.extra).filter((format) => format !== formats.default);
  if (formats.default === 2 && extra.length === 0 && meta.features.readOnlyCompatible.includes(V1_EROFS)) return [1];
  return [formats.default, ...extra];
}

/** Whether two configurations are the same in all members. */
export function equalMeta(a: Meta, b: Meta): boolean {
  return serializeMeta(a) === serializeMeta(b);
}

type Fail = (message: string) => ComposefsError;

function parseFormats(value: unknown, fail: Fail): { default: ErofsFormat; extra: ErofsFormat[] } {
  const formats = record(value, `"erofs_formats"`, fail);
  if (!isFormat(formats.default)) throw fail(`"erofs_formats.default" must be 0, 1 or 2`);
  const extra = formats.extra ?? [];
  if (formats.extra === null || !Array.isArray(extra) || !extra.every(isFormat))
    throw fail(`"erofs_formats.extra" must be a list of 0, 1 and 2`);
  return { default: formats.default, extra: sortedFormats(extra).filter((format) => format !== formats.default) };
}

function record(value: unknown, what: string, fail: Fail): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw fail(`${what} must be an object`);
  return value as Record<string, unknown>;
}

function isUint32(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

function isFormat(value: unknown): value is ErofsFormat {
  return value === 0 || value === 1 || value === 2;
}

function sortedFormats(formats: readonly ErofsFormat[]): ErofsFormat[] {
  return [...new Set(formats)].toSorted((a, b) => a - b);
}
