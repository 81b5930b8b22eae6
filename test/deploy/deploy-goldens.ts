// Reads the case files of the area `deploy` (test/goldens/deploy/README.md).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError } from "../../src/error.ts";
import { goldensDir } from "../goldens-dir.ts";

/** A case; `op` is empty where the file has one operation only. */
export interface DeployCase<Input, Expect> {
  readonly name: string;
  readonly op?: string;
  readonly input: Input;
  readonly expect: Expect;
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(join(goldensDir("deploy"), `${name}.json`), "utf8"));
}

/** All cases of a file; fails when there are none. */
export function deployCases<Input = never, Expect = unknown>(area: string): DeployCase<Input, Expect>[] {
  const document = readJson(area) as { area: string; cases: DeployCase<Input, Expect>[] };
  if (document.area !== area || document.cases.length === 0) throw new Error(`no cases of ${area}`);
  return document.cases;
}

/** Facts of a test image; its blobs are in the layout `oci`. */
export interface TestImage {
  readonly tag: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly layerDiffIds: string[];
  /** Ids by format and hash, such as `v1-sha512`. */
  readonly imageId: Record<string, string>;
  /** Undefined for images that boot nothing. */
  readonly bootImageId?: Record<string, string>;
  readonly manifest: unknown;
  readonly config: unknown;
}

/** The test images by name. */
export function testImages(): Record<string, TestImage> {
  return (readJson("images") as { images: Record<string, TestImage> }).images;
}

/** The result of a call, or `{error: reason}` as the goldens write it, with the line where the error has one. */
export function outcome<T>(call: () => T): T | { error: string | undefined; line?: number } {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    return { error: error.reason, ...(error.line === undefined ? {} : { line: error.line }) };
  }
}
