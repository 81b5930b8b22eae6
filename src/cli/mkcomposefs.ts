#!/usr/bin/env node
// The program `mkcomposefs`: the C tool's options, messages and exit statuses (docs/spec/tools-c.md, section 1). Unlike it,
// IMAGE is written beside its place and renamed when complete, and --help and --version exist.

import { closeSync, openSync, readFileSync, readSync, renameSync, statSync, unlinkSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isatty } from "node:tty";
import { type DumpImageRequest, MkcomposefsError, parseMkcomposefs, USAGE } from "./mkcomposefs-options.ts";

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
    if (error instanceof MkcomposefsError) process.stderr.write(error.usage ? USAGE : "");
    else if (hint !== undefined) process.stderr.write(`hint: ${hint}\n`);
    return 1;
  }
}

async function build(request: DumpImageRequest): Promise<void> {
  const { image } = request;
  if (image === "-" && isatty(1)) throw new MkcomposefsError("stdout is a tty.  Refusing to use it");
  const source = openSource(request.source);
  const { writeImageFromDump } = await import("../image/write.ts");
  const options = {
    version: request.minVersion,
    maxVersion: request.maxVersion,
    algorithm: "sha256" as const,
    dialect: "c" as const,
  };
  const target = image === undefined ? undefined : openTarget(image);
  try {
    const sink = target === undefined ? undefined : (chunk: Uint8Array) => writeAll(target.fd, chunk);
    const { id } = await writeImageFromDump((area) => retrying(() => readSync(source, area)), options, sink);
    target?.commit();
    if (request.printDigest) writeAll(1, Buffer.from(`${id}\n`));
  } finally {
    target?.discard();
    if (source !== 0) closeSync(source);
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
  // A device or a pipe cannot be replaced; what is no regular file is written in place.
  const special = statSync(image, { throwIfNoEntry: false })?.isFile() === false;
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
