#!/usr/bin/env node
// The program `mkcomposefs`: the C tool's options, messages and exit statuses (docs/spec/tools-c.md, section 1). Unlike it,
// IMAGE is written beside its place and renamed when complete, and --help and --version exist.

import { closeSync, mkdirSync, openSync } from "node:fs";
import { resolve } from "node:path";
import { isatty } from "node:tty";
import type { FileWork, WrittenImage } from "../index.ts";
import { CToolError, failedTo, readSome, runCTool, writeAll } from "./c-tool.ts";
import {
  type DirectoryRequest,
  type ImageRequest,
  MKCOMPOSEFS_USAGE,
  parseMkcomposefs,
} from "./mkcomposefs-options.ts";
import { isSpecialFile, openReplacement } from "./replacement.ts";

await runCTool("mkcomposefs", MKCOMPOSEFS_USAGE, (words) => build(parseMkcomposefs(words)));

async function build(request: ImageRequest): Promise<void> {
  const { image, source, directory } = request;
  if (image === "-" && isatty(1)) throw new CToolError("stdout is a tty.  Refusing to use it");
  const written = await (directory === undefined ? fromDump(request) : fromDirectory(request, source, directory));
  const { id, size, version: format, inodes } = written;
  if (request.json) writeAll(1, `${JSON.stringify({ digest: id, algorithm: "sha256", size, format, inodes })}\n`);
  else if (request.printDigest) writeAll(1, `${id}\n`);
}

function imageOptions({ minVersion, maxVersion }: ImageRequest) {
  return { version: minVersion, maxVersion, algorithm: "sha256", dialect: "c" } as const;
}

async function fromDump(request: ImageRequest): Promise<WrittenImage> {
  const source = openSource(request.source);
  try {
    const { writeImageFromDump } = await import("../image/write.ts");
    return await writing(request.image, (sink) =>
      writeImageFromDump((area) => readSome(source, area, request.source), imageOptions(request), sink),
    );
  } finally {
    if (source !== 0) closeSync(source);
  }
}

async function fromDirectory(request: ImageRequest, path: string, kept: DirectoryRequest): Promise<WrittenImage> {
  const { image } = request;
  const { checkOutside } = await import("../tree/scan/outside.ts");
  const { scanDirectory } = await import("../tree/scan/scan.ts");
  const { reduceMetadata } = await import("../tree/reduce-metadata.ts");
  const { checkXattrSpace } = await import("../tree/xattr-space.ts");
  const { writeImage } = await import("../image/write.ts");
  if (image !== undefined && image !== "-" && !isSpecialFile(image)) checkOutside(path, image, "the image");
  const store = kept.digestStore === undefined ? undefined : await openStore(path, kept.digestStore);
  const { root } = await scanDirectory(path, {
    algorithms: ["sha256"],
    xattrs: kept.xattrs !== "none",
    threads: kept.threads,
    work: store?.work,
  });
  store?.sync();
  reduceMetadata(root, kept);
  checkXattrSpace(root);
  return writing(image, (sink) => writeImage(root, imageOptions(request), sink));
}

/** Makes the store and answers how the scan fills it. */
async function openStore(source: string, store: string): Promise<{ work: FileWork; sync: () => void }> {
  const { checkOutside } = await import("../tree/scan/outside.ts");
  const { storingWork, syncStore } = await import("../repository/scan-objects.ts");
  checkOutside(source, store, "the digest store");
  const path = resolve(store);
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw failedTo(`cannot fill store: ${store}`, error);
  }
  const options = { path, objects: path, algorithm: "sha256", secure: false, verifyExisting: false } as const;
  return { work: storingWork(options), sync: () => syncStore(path) };
}

/** Writes to the image's place, which keeps what it has unless all goes well. */
async function writing(
  image: string | undefined,
  write: (sink: (chunk: Uint8Array) => void) => WrittenImage | Promise<WrittenImage>,
): Promise<WrittenImage> {
  if (image === undefined) return write(() => undefined);
  if (image === "-") return write((chunk) => writeAll(1, chunk));
  const replacement = openReplacement(image, (error) => failedTo("failed to open output file", error));
  try {
    const written = await write((chunk) => replacement.write(chunk));
    replacement.commit();
    return written;
  } finally {
    replacement.discard();
  }
}

function openSource(path: string): number {
  if (path === "-") return 0;
  try {
    return openSync(path, "r");
  } catch (error) {
    throw failedTo(`open \`${path}\``, error);
  }
}
