// What fsck finds, and how it is counted and said (docs/spec/repository.md, section 10).

import type { ObjectId } from "../../bytes/algorithm.ts";

/** Kinds that the format's reference reports too, with the same words. */
export type SharedKind =
  | "object-invalid-name"
  | "object-open-failed"
  | "object-digest-mismatch"
  | "object-verity-failed"
  | "object-verity-missing"
  | "entry-not-symlink"
  | "broken-symlink"
  | "stat-failed"
  | "unexpected-file-type"
  | "stream-open-failed"
  | "missing-object-ref"
  | "missing-named-ref"
  | "image-open-failed"
  | "image-invalid"
  | "image-missing-object"
  | "metadata-parse-failed"
  | "metadata-algorithm-mismatch";

/**
 * Kinds beyond those.
 *
 * - `stream-body-invalid`: the body cannot be decoded.
 * - `stream-size-mismatch`: inline bytes and objects together are not as long as the stream: some object has another size.
 * - `stream-misnamed`: the content is not what the content id promises.
 * - `image-misnamed`: an entry of `images/` leads to another object than its name says.
 * - `ref-misdirected`: a ref leads out of its category.
 * - `stray-file`: something that is not the repository's; a warning.
 * - `leftover`: a temporary file, in use or left by a crash; a warning.
 */
export type OwnKind =
  | "stream-body-invalid"
  | "stream-size-mismatch"
  | "stream-misnamed"
  | "image-misnamed"
  | "ref-misdirected"
  | "stray-file"
  | "leftover";

/** Every kind of finding. */
export type FindingKind = SharedKind | OwnKind;

/** One thing that is not as it should be. */
export interface Finding {
  kind: FindingKind;
  /** Warnings do not make a repository bad. */
  severity: "error" | "warning";
  /** Path in the repository. */
  path: string;
  /** The name of a named ref. */
  ref?: string;
  /** The object that is missing or damaged. */
  id?: ObjectId;
  /** For people. */
  detail?: string;
}

/** Counters, named as in the JSON output. */
export interface FsckCounters {
  objects_checked: number;
  objects_corrupted: number;
  streams_checked: number;
  streams_corrupted: number;
  images_checked: number;
  images_corrupted: number;
  broken_links: number;
  missing_objects: number;
}

/** The result of a check. */
export interface FsckReport {
  /** Whether there are no errors. */
  ok: boolean;
  /** Whether meta.json exists. */
  hasMetadata: boolean;
  counters: FsckCounters;
  /** Sorted by path, then kind. */
  findings: Finding[];
}

/** Collects findings and counts. */
export class Findings {
  readonly counters: FsckCounters = {
    objects_checked: 0,
    objects_corrupted: 0,
    streams_checked: 0,
    streams_corrupted: 0,
    images_checked: 0,
    images_corrupted: 0,
    broken_links: 0,
    missing_objects: 0,
  };
  readonly #list: Finding[] = [];

  /** Records an error. */
  error(kind: FindingKind, path: string, more: Pick<Finding, "ref" | "id" | "detail"> = {}): void {
    this.#list.push({ kind, severity: "error", path, ...more });
  }

  /** Records a warning. */
  warn(kind: FindingKind, path: string, detail: string): void {
    this.#list.push({ kind, severity: "warning", path, detail });
  }

  /** All findings, sorted. */
  sorted(): Finding[] {
    return this.#list.toSorted((a, b) => compare(a.path, b.path) || compare(findingMessage(a), findingMessage(b)));
  }
}

/** The line that says a finding: `fsck: KIND: PATH...`, for shared kinds as the reference says it. */
export function findingMessage({ kind, path, ref, id, detail }: Finding): string {
  const parts = [`fsck: ${kind}: ${path}`];
  if (ref !== undefined) parts.push(`ref ${ref}`);
  if (kind === "object-digest-mismatch") parts.push(detail ?? "");
  else if (id !== undefined) parts.push(id);
  else if (detail !== undefined) parts.push(detail);
  return parts.join(": ");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
