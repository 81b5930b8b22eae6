// What is known about the image of a deployment from its manifest and config: version, time, layers (docs/spec/deployments.md,
// section 4.9), and the old `.imginfo` files that held both (section 2.4).

import { createHash } from "node:crypto";

import { ComposefsError } from "../error.ts";
import { type ImageConfig, parseImageConfig } from "../oci/config.ts";
import type { Digest } from "../oci/digest.ts";
import { parseJson } from "../oci/json.ts";
import { type Manifest, parseManifest } from "../oci/manifest.ts";
import { compactJson, memberText } from "./json-text.ts";

/** An `.imginfo` file. */
export interface Imginfo {
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Digest of the manifest, compacted: that of the image where its manifest was compact. */
  readonly digest: Digest;
}

/**
 * Parses an `.imginfo` file, which old versions of bootc wrote beside the origin.
 *
 * @throws ComposefsError `invalid` with the reason `E_IMGINFO`
 */
export function parseImginfo(text: string, path = "the imginfo file"): Imginfo {
  try {
    parseJson(Buffer.from(text), "the file", new Set(["manifest", "config"]));
    const manifest = memberText(text, "manifest");
    const config = memberText(text, "config");
    if (manifest === undefined || config === undefined)
      throw new ComposefsError("invalid", `it has no member ${manifest === undefined ? "manifest" : "config"}`);
    const compact = compactJson(manifest);
    return {
      manifest: parseManifest(Buffer.from(manifest), "the manifest"),
      config: parseImageConfig(Buffer.from(config), "the config"),
      digest: `sha256:${createHash("sha256").update(compact).digest("hex")}`,
    };
  } catch (error) {
    throw new ComposefsError("invalid", `${path}: ${(error as Error).message}`, {
      cause: error,
      path,
      reason: "E_IMGINFO",
      hint: "the next update of the deployment no longer needs the file",
    });
  }
}

const VERSION = "org.opencontainers.image.version";

/** The version of an image: the annotation of the manifest, else a label of the config; undefined when there is none. */
export function imageVersion(manifest: Manifest, config: ImageConfig | undefined): string | undefined {
  const own = (map: Readonly<Record<string, string>>, key: string) => (Object.hasOwn(map, key) ? map[key] : undefined);
  const labels = config?.labels ?? {};
  return own(manifest.annotations, VERSION) ?? own(labels, VERSION) ?? own(labels, "version");
}

const RFC_3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;

/**
 * When an image was made, in UTC with `Z`; the fraction has 3, 6 or 9 digits, or is left out when it is zero.
 *
 * @param created as the config has it
 * @returns undefined when it is no time of RFC 3339
 * @example
 * ```ts
 * imageTime("2025-06-01T12:00:00.25+02:00"); // "2025-06-01T10:00:00.250Z"
 * ```
 */
export function imageTime(created: string | undefined): string | undefined {
  const match = RFC_3339.exec(created ?? "");
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const offset = match[8] === undefined ? 0 : Number(`${match[8]}1`) * (Number(match[9]) * 60 + Number(match[10]));
  if (hour > 23 || minute > 59 || second > 60 || Number(match[9] ?? 0) > 23 || Number(match[10] ?? 0) > 59)
    return undefined;
  const time = new Date(0);
  // Not Date.UTC, which takes years below 100 for those of the last century. A leap second is the one after it.
  time.setUTCFullYear(year, month - 1, day);
  if (time.getUTCMonth() !== month - 1 || time.getUTCDate() !== day) return undefined;
  time.setUTCHours(hour, minute - offset, second);
  if (time.getUTCFullYear() < 0 || time.getUTCFullYear() > 9999) return undefined;
  const digits = (match[7] ?? "").slice(0, 9).replace(/0+$/, "");
  const fraction = digits === "" ? "" : `.${digits.padEnd(Math.ceil(digits.length / 3) * 3, "0")}`;
  return `${time.toISOString().slice(0, 19)}${fraction}Z`;
}
