// Unpacks the golden repositories and applies the damage of their variants (the legend is in index.json).

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { closeSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { goldensDir } from "../goldens-dir.ts";

/** A stream as recorded. */
export interface GoldenStream {
  object_id: string;
  header_layout: "new" | "old";
  content_type: string;
  stream_size: number;
  file_size: number;
  object_refs: string[];
  stream_refs: string[];
  named_refs: Record<string, string>;
  chunks: ["inline" | "external", number][];
  cat_sha256: string;
}

/** Counters and errors of fsck as recorded. */
export interface GoldenFsck {
  json_rc: number;
  text_rc: number;
  json?: Record<string, number | boolean | string[]> & { errors: string[]; ok: boolean };
  error?: { outermost: string; innermost: string };
}

/** A collection as recorded. */
export interface GoldenGc {
  rc: number;
  stdout?: string;
  objects_removed?: number;
  objects_bytes?: number;
  images_pruned?: number;
  streams_pruned?: number;
  error?: { outermost: string; innermost: string };
}

/** One change to a file of the repository. */
export interface GoldenOp {
  op: "xor" | "truncate" | "unlink" | "write" | "symlink" | "mkdir" | "rmtree";
  path: string;
  offset?: number;
  mask?: number;
  size?: number;
  base64?: string;
  target?: string;
}

/** A damaged copy of a repository. */
export interface GoldenVariant {
  name: string;
  note: string;
  ops: GoldenOp[];
  fsck: GoldenFsck;
  fsck_metadata_only: GoldenFsck;
  gc_dry_run: GoldenGc;
}

/** A repository. */
export interface GoldenRepository {
  algorithm: "fsverity-sha256-12" | "fsverity-sha512-12";
  streams: Record<string, GoldenStream>;
  stream_refs: Record<string, string>;
  image_refs: Record<string, string>;
  cat_refs_sha256: Record<string, string>;
  images: Record<string, string[]>;
  fsck: GoldenFsck;
  fsck_metadata_only?: GoldenFsck;
  gc: { dry_run: GoldenGc; real: GoldenGc; removed_paths: string[]; fsck_after: GoldenFsck };
  extra_roots?: Record<string, GoldenGc>;
  variants?: GoldenVariant[];
  meta_json_after_auto_upgrade?: object;
}

/** Every recorded repository by the name of its tar file. */
export function goldenRepositories(): [string, GoldenRepository][] {
  const index = JSON.parse(readFileSync(join(goldensDir("repository"), "index.json"), "utf8")) as {
    repositories: Record<string, GoldenRepository>;
  };
  const repositories = Object.entries(index.repositories);
  if (repositories.length === 0) throw new Error("the golden index names no repository");
  return repositories;
}

/** A fresh directory with the repository in it; the caller removes it. */
export function unpackRepository(tar: string): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "composefs-golden-"));
  execFileSync("tar", ["-xf", join(goldensDir("repository"), tar), "-C", path]);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Changes a repository as a variant says. */
export function applyOps(root: string, ops: readonly GoldenOp[]): void {
  for (const op of ops) {
    const path = join(root, op.path);
    switch (op.op) {
      case "xor": {
        const fd = openSync(path, "r+");
        const byte = new Uint8Array(1);
        readSync(fd, byte, 0, 1, op.offset as number);
        writeSync(fd, Uint8Array.of((byte[0] as number) ^ (op.mask as number)), 0, 1, op.offset as number);
        closeSync(fd);
        break;
      }
      case "truncate":
        truncateSync(path, op.size);
        break;
      case "unlink":
        unlinkSync(path);
        break;
      case "write":
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, Buffer.from(op.base64 as string, "base64"));
        break;
      case "symlink":
        mkdirSync(dirname(path), { recursive: true });
        rmSync(path, { force: true });
        symlinkSync(op.target as string, path);
        break;
      case "mkdir":
        mkdirSync(path, { recursive: true });
        break;
      case "rmtree":
        rmSync(path, { recursive: true });
        break;
    }
  }
}

/** Every path below a directory, sorted. Bun's recursive readdir follows links into loops. */
export function pathsBelow(root: string, folder = ""): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? [path, ...pathsBelow(root, path)] : [path];
    })
    .toSorted();
}
