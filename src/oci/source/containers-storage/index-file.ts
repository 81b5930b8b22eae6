// The JSON indexes of a store. They are replaced by renaming, so that one read sees one version, but nobody vouches for what is in them
// (docs/spec/containers-storage.md, sections 4.1, 5.1 and 9).

import * as v from "valibot";

import { storageError } from "./fault.ts";
import { readSmallFile } from "./big-data.ts";

/** Indexes with ten thousands of layers have some 20 MB. */
const MAX_INDEX_SIZE = 256 << 20;

const ID = /^[0-9a-zA-Z][0-9a-zA-Z._-]{0,254}$/;

/**
 * Parses an index whose entries have an `id` that is used as a file name.
 *
 * @throws ComposefsError `invalid` (`bad-index`) when the file is missing, empty, no JSON of this form, or an id could leave the store
 */
export function parseIndexFile<S extends v.GenericSchema<unknown, { id: string }[]>>(
  path: string,
  schema: S,
): v.InferOutput<S> {
  const bytes = readSmallFile(path, MAX_INDEX_SIZE, "an index");
  const bad = (problem: string, cause?: unknown) => storageError("bad-index", `${path} ${problem}`, { path, cause });
  if (bytes === undefined) throw bad("is missing");
  if (bytes.length === 0) throw bad("is empty: what wrote it was interrupted");
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (error) {
    throw bad(`is not valid JSON: ${(error as Error).message}`, error);
  }
  const checked = v.safeParse(schema, document);
  if (!checked.success) {
    const [issue] = checked.issues;
    throw bad(`is wrong at ${v.getDotPath(issue) ?? "its top"}: ${issue.message}`);
  }
  for (const { id } of checked.output) {
    if (!ID.test(id) || id.includes("..")) throw bad(`has an entry whose id is no name: ${JSON.stringify(id)}`);
  }
  return checked.output;
}
