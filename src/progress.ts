// Progress as a stream of typed events. The library reports; only the command line draws.

/** One step of a long operation. `id` names the item (a digest or a path) and is the same from start to end. */
export type ProgressEvent =
  | { type: "start"; id: string; kind: ProgressKind; label: string; total?: number }
  | { type: "advance"; id: string; done: number; total?: number }
  | { type: "done"; id: string; skipped?: boolean }
  | { type: "note"; message: string }
  | { type: "warning"; message: string };

/** What an item is: a layer being imported, an image being written, a file being copied, objects being checked, ids being computed, ... */
export type ProgressKind = "manifest" | "config" | "layer" | "image" | "copy" | "objects" | "files" | "ids";

/** Receives events; must not throw and should return at once. */
export type ProgressListener = (event: ProgressEvent) => void;
