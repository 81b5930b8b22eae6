// Reads the case files of the area `boot`.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ComposefsError } from "../../src/error.ts";
import { goldensDir } from "../goldens-dir.ts";

/** The cases of one file; fails when there are none. */
export function bootCases<Case>(kind: string): Case[] {
  const document = JSON.parse(readFileSync(join(goldensDir("boot"), `${kind}.json`), "utf8")) as {
    kind: string;
    cases: Case[];
  };
  if (document.kind !== kind || document.cases.length === 0) throw new Error(`no cases of ${kind}`);
  return document.cases;
}

/** The result of a call, or `{error: reason}` as the goldens write it. */
export function outcome<T>(call: () => T): T | { error: string | undefined } {
  try {
    return call();
  } catch (error) {
    if (error instanceof ComposefsError) return { error: error.reason };
    throw error;
  }
}
