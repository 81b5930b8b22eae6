// What people write for the source and the result of `composefs seal`: image references, directories, tags.

import { statSync } from "node:fs";
import { ComposefsError } from "../error.ts";
import { layoutNameSplits, parseReference } from "../oci/reference.ts";
import { isLayout } from "../oci/source/layout.ts";

/** What the name of an image means. */
export type SourceName =
  | { readonly kind: "reference"; readonly reference: string }
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "stored"; readonly name: string };

/** What the name of a result means. */
export type OutputName =
  | { readonly kind: "layout"; readonly directory: string; readonly tag: string | undefined }
  | { readonly kind: "tag"; readonly name: string };

const TRANSPORT = /^(?:oci|oci-archive|dir|docker-archive|docker-daemon|containers-storage|registry):|^docker:\/\//;

/**
 * A reference if it begins with a transport, else a directory if there is one, else an image of the repository.
 *
 * @throws ComposefsError `invalid` for a bad reference
 */
export function parseSourceName(name: string): SourceName {
  if (TRANSPORT.test(name)) {
    parseReference(name);
    return { kind: "reference", reference: name };
  }
  const isDirectory = statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
  return isDirectory ? { kind: "directory", path: name } : { kind: "stored", name };
}

/**
 * `oci:DIR[:TAG]` is a layout, what names no transport a tag of the repository.
 *
 * @throws ComposefsError `unsupported` for other transports
 */
export async function parseOutputName(name: string): Promise<OutputName> {
  if (!TRANSPORT.test(name)) return { kind: "tag", name };
  const reference = parseReference(name);
  if (reference.transport !== "oci") {
    throw new ComposefsError("unsupported", `a sealed image cannot be written to ${name}`, {
      hint: "write it to oci:DIR[:TAG] and copy it from there with `skopeo copy`",
    });
  }
  const splits = layoutNameSplits(reference.name);
  let chosen = splits[0] ?? { path: reference.name, tag: undefined };
  for (const split of splits) {
    if (!(await isLayout(split.path))) continue;
    chosen = split;
    break;
  }
  if (chosen.tag === "" || chosen.path === "") {
    throw new ComposefsError("usage", `${name} names no ${chosen.path === "" ? "directory" : "tag"}`, {
      hint: "write oci:DIR:TAG",
    });
  }
  return { kind: "layout", directory: chosen.path, tag: chosen.tag };
}
