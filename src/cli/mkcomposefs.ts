#!/usr/bin/env node
// The program `mkcomposefs`: the C tool's options, messages and exit statuses (docs/spec/tools-c.md, section 1). Unlike it,
// IMAGE is written beside its place and renamed when complete, and --help and --version exist.

import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { isatty } from "node:tty";
import type { FileWork, WrittenImage } from "../index.ts";
import {
  type DirectoryRequest,
  type ImageRequest,
  MkcomposefsError,
  parseMkcomposefs,
  USAGE,
} from "./mkcomposefs-options.ts";

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  try {
    const request = parseMkcomposefs(words);
    if (request === "help") process.stdout.write(USAGE);
    else if (request === "version") process.stdout.write(`mkcomposefs ${version()} (composefs-js)\n`);
    else await build(request);
    return 0;
  } catch (error) {
    const { describeFailure } = await import("./failure.ts");
    const { message, hint } = describeFailure(error);
    process.stderr.write(`mkcomposefs: ${message}\n`);
    if (hint !== undefined) process.stderr.write(`hint: ${hint}\n`);
    if (error instanceof MkcomposefsError && error.usage) process.stderr.write(USAGE);
    return 1;
  }
}

async function build(request: ImageRequest): Promise<void> {
  const { image, source, directory } = request;
  if (image === "-" && isatty(1)) throw new MkcomposefsError("stdout is a tty.  Refusing to use it");
  const written = await (directory === undefined ? fromDump(request) : fromDirectory(request, source, directory));
  const { id, size, version: format, inodes } = written;
  if (request.json)
    writeAll(1, Buffer.from(`${JSON.stringify({ digest: id, algorithm: "sha256", size, format, inodes })}\n`));
  else if (request.printDigest) writeAll(1, Buffer.from(`${id}\n`));
}

function imageOptions({ minVersion, maxVersion }: ImageRequest) {
  return { version: minVersion, maxVersion, algorithm: "sha256", dialect: "c" } as const;
}

async function fromDump(request: ImageRequest): Promise<WrittenImage> {
  const source = openSource(request.source);
  try {
    const { writeImageFromDump } = await import("../image/write.ts");
    return await writing(request.image, (sink) =>
      writeImageFromDump((area) => retrying(() => readSync(source, area)), imageOptions(request), sink),
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
  if (image !== undefined && image !== "-" && !isSpecial(image)) checkOutside(path, image, "the image");
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
    throw new MkcomposefsError(`cannot fill store: ${store}: ${reason(error)}`);
  }
  const options = { path, objects: path, algorithm: "sha256", secure: false, verifyExisting: false } as const;
  return { work: storingWork(options), sync: () => syncStore(path) };
}

/** Writes to the image's place, which keeps what it has unless all goes well. */
async function writing(
  image: string | undefined,
  write: (sink: (chunk: Uint8Array) => void) => WrittenImage | Promise<WrittenImage>,
): Promise<WrittenImage> {
  const target = image === undefined ? undefined : openTarget(image);
  const writeImagePiece = (fd: number, chunk: Uint8Array) => {
    try {
      writeAll(fd, chunk);
    } catch (error) {
      const hint = "free some space, or choose another place; the image that was there is unchanged";
      throw new MkcomposefsError(`writing ${image}: ${(error as Error).message}`, false, hint);
    }
  };
  try {
    const written = await write(target === undefined ? () => undefined : (chunk) => writeImagePiece(target.fd, chunk));
    target?.commit();
    return written;
  } finally {
    target?.discard();
  }
}

function openSource(path: string): number {
  if (path === "-") return 0;
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new MkcomposefsError(`open \`${path}\`: ${reason(error)}`);
  }
}

// A device or a pipe cannot be replaced; what is no regular file is written in place.
function isSpecial(image: string): boolean {
  return statSync(image, { throwIfNoEntry: false })?.isFile() === false;
}

interface Target {
  readonly fd: number;
  /** Puts the image in its place. */
  commit(): void;
  /** Removes what is unfinished; nothing after a commit. */
  discard(): void;
}

function openTarget(image: string): Target {
  if (image === "-") return { fd: 1, commit: () => undefined, discard: () => undefined };
  const failed = (error: unknown) => new MkcomposefsError(`failed to open output file: ${reason(error)}`);
  const special = isSpecial(image);
  const temporary = special ? image : join(dirname(image), `.${basename(image)}.${process.pid}.tmp`);
  let fd: number;
  try {
    fd = openSync(temporary, special ? "w" : "wx", 0o666);
  } catch (error) {
    throw failed(error);
  }
  let open = true;
  const close = () => {
    if (open) closeSync(fd);
    open = false;
  };
  let committed = special;
  return {
    fd,
    commit() {
      close();
      if (!committed) renameSync(temporary, image);
      committed = true;
    },
    discard() {
      close();
      if (!committed) unlinkSync(temporary);
      committed = true;
    },
  };
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += retrying(() => writeSync(fd, bytes, at));
}

// An inherited pipe may be non-blocking; there is nothing else to do than to wait for it.
function retrying(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EOF") return 0;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") throw new MkcomposefsError(reason(error));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^[A-Z0-9]+: ([^,]+),/.exec(message)?.[1] ?? message;
}

function version(): string {
  return (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string })
    .version;
}
