#!/usr/bin/env node
// The program `composefs-info`: what is in images, with the C tool's commands, options, output and exit statuses
// (docs/spec/tools-c.md, section 2). Unlike it, it has --json, checks images before it prints anything of them, prints files
// without digest, and dumps with --filter.

import { statSync } from "node:fs";
import { join } from "node:path";
import { CToolError, failedTo, runCTool, writeAll } from "./c-tool.ts";
import { INFO_USAGE, type InfoRequest, parseInfo } from "./composefs-info-options.ts";
import { withImage } from "./open-image.ts";

await runCTool("composefs-info", INFO_USAGE, async (words) => {
  const request = parseInfo(words);
  if (request.command === "measure-file") return measure(request);
  checkBasedir(request.basedir);
  const { utf8ByteString } = await import("../bytes/byte-string.ts");
  const only = request.filter.map((name) => utf8ByteString(name));
  switch (request.command) {
    case "ls":
      return list(request, only);
    case "dump":
      return dump(request, only);
    default:
      return objects(request, only);
  }
});

function checkBasedir(path: string | undefined): void {
  if (path === undefined) return;
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (error) {
    throw failedTo(`Can't open basedir '${path}'`, error);
  }
  if (!isDirectory) throw new CToolError(`Can't open basedir '${path}': not a directory`);
}

async function list({ files, json }: InfoRequest, only: string[]): Promise<void> {
  if (json) return entriesAsJson(files, only);
  const { listImage } = await import("../image/list.ts");
  for (const file of files) withImage(file, (fd) => writePieces(listImage(fd, { only })));
}

async function dump({ files, json, form }: InfoRequest, only: string[]): Promise<void> {
  if (json) return entriesAsJson(files, only);
  const { dumpImage } = await import("../image/dump.ts");
  for (const file of files) withImage(file, (fd) => dumpImage(fd, (piece) => writeAll(1, piece), { form, only }));
}

/** Entries as objects whose texts are escaped as in dumps, one a line. */
async function entriesAsJson(files: readonly string[], only: string[]): Promise<void> {
  const { imageEntries } = await import("../image/entries.ts");
  writeAll(1, '{"images":[\n');
  for (const [i, file] of files.entries()) {
    withImage(file, (fd) => {
      function* pieces() {
        let separator = `${i === 0 ? "" : ",\n"}{"image":${JSON.stringify(file)},"entries":[\n`;
        for (const { xattrs, ...entry } of imageEntries(fd, { only })) {
          yield `${separator}${JSON.stringify(entry.linkTo === undefined ? { ...entry, xattrs: Object.fromEntries(xattrs) } : { path: entry.path, linkTo: entry.linkTo })}`;
          separator = ",\n";
        }
        yield "\n]}";
      }
      writePieces(pieces());
    });
  }
  writeAll(1, "\n]}\n");
}

async function objects(request: InfoRequest, only: string[]): Promise<number> {
  const { PayloadSet } = await import("../image/payloads.ts");
  const payloads = new PayloadSet();
  for (const file of request.files) withImage(file, (fd) => payloads.addImage(fd, { only }));
  const { basedir, json, command, exitCode } = request;
  const missingOnly = command === "missing-objects";
  let count = 0;
  function* wanted() {
    for (const payload of payloads.sorted()) {
      if (missingOnly && basedir !== undefined && isBelow(basedir, payload)) continue;
      count++;
      yield payload;
    }
  }
  if (json) {
    const { displayBytes } = await import("../bytes/byte-string.ts");
    writeAll(1, `{"${missingOnly ? "missing" : "objects"}":[`);
    let separator = "\n";
    function* items() {
      for (const payload of wanted()) {
        yield `${separator}${JSON.stringify(displayBytes(payload))}`;
        separator = ",\n";
      }
      yield "\n]}\n";
    }
    writePieces(items());
  } else {
    function* lines() {
      for (const payload of wanted()) yield `${payload}\n`;
    }
    writePieces(lines());
  }
  return missingOnly && count > 0 ? exitCode : 0;
}

/** Whether the object is there. A path that leads out of the directory names none of its objects. */
function isBelow(basedir: string, payload: string): boolean {
  const path = payload.replace(/^\/+/, "");
  if (path.split("/").includes("..")) return false;
  const where = Buffer.concat([Buffer.from(join(basedir, "/")), Buffer.from(path, "latin1")]);
  try {
    return statSync(where, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTDIR" || code === "ELOOP" || code === "ENAMETOOLONG") return false;
    throw failedTo(`Failed to look for objects in '${basedir}'`, error);
  }
}

async function measure({ files, json }: InfoRequest): Promise<void> {
  const { measureFile } = await import("../core/measure.ts");
  const measured = [];
  for (const path of files) {
    try {
      const { digest, size } = await measureFile("sha256", path);
      measured.push({ path, digest, size });
      if (!json) writeAll(1, `${digest}\n`);
    } catch (error) {
      if (error instanceof CToolError) throw error;
      const cause = (error as { cause?: unknown }).cause;
      throw cause instanceof Error
        ? failedTo(`Failed to open '${path}'`, cause)
        : failedTo(`failed to measure '${path}'`, error);
    }
  }
  if (json) writeAll(1, `${JSON.stringify({ files: measured }, undefined, 2)}\n`);
}

/** Writes texts whose characters are bytes in few large pieces. */
function writePieces(texts: Iterable<string>): void {
  let pending: string[] = [];
  let length = 0;
  const write = () => {
    if (length > 0) writeAll(1, Buffer.from(pending.join(""), "latin1"));
    pending = [];
    length = 0;
  };
  for (const text of texts) {
    pending.push(text);
    length += text.length;
    if (length >= 1 << 16) write();
  }
  write();
}
