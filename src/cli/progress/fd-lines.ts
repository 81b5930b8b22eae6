// `--progress-fd N` (docs/spec/deployments.md, section 4.10): lines of JSON for a program that started this one, as bootc writes them. The
// first says that it began; then sums of what runs, five times a second at most; that something is complete is always said.

import { fstatSync, openSync, writeSync } from "node:fs";

import type { ProgressEvent, ProgressListener } from "../../index.ts";
import { UsageError } from "../failure.ts";
import { countsBytes, type Item, RunningItems } from "./items.ts";

const INTERVAL_MS = 200;
const VERSION = "0.1.0";

/** How long a reader who is slow is waited for in the end, in milliseconds. */
const PATIENCE_MS = 1000;

/** Writes lines; nothing is thrown. */
export interface LineSink {
  /** Writes a line, or as much of it as can be, and what was left before. */
  write(line: string): void;
  /** Whether something is left. */
  readonly isBehind: boolean;
}

/** A listener for a descriptor. */
export interface FdProgress {
  readonly listen: ProgressListener;
  /** Says the last state, if it was not said. */
  readonly stop: () => void;
}

/**
 * Checks the value of `--progress-fd`; gives the descriptor to write to.
 *
 * @throws UsageError for what is no number, for 0 to 2, and for a descriptor that is not open
 */
export function progressFd(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new UsageError(`option --progress-fd takes a file descriptor, not "${text}"`);
  const fd = Number(text);
  if (fd <= 2) {
    throw new UsageError(
      `option --progress-fd takes a descriptor above 2, not ${fd}`,
      "0 to 2 are stdin, stdout and stderr; for events on stderr there is --progress json",
    );
  }
  try {
    fstatSync(fd);
    return fd;
  } catch {
    // Deno knows only what it opened itself; what it inherited can be opened once more.
    try {
      return openSync(`/dev/fd/${fd}`, "a");
    } catch {
      throw new UsageError(
        `option --progress-fd: the descriptor ${fd} is not open`,
        `open it first, as in \`composefs ... --progress-fd ${fd} ${fd}>FILE\``,
      );
    }
  }
}

/** Writes lines to a descriptor. A reader who went away is no failure; one who is slow gets them later. */
export function fdSink(fd: number): LineSink {
  let backlog = Buffer.alloc(0);
  let isGone = false;
  return {
    write(line) {
      if (isGone) return;
      backlog = Buffer.concat([backlog, Buffer.from(line)]);
      try {
        while (backlog.length > 0) backlog = backlog.subarray(writeSync(fd, backlog));
      } catch (error) {
        isGone = (error as NodeJS.ErrnoException).code !== "EAGAIN";
        if (isGone) backlog = Buffer.alloc(0);
      }
    },
    get isBehind() {
      return backlog.length > 0;
    },
  };
}

interface Known extends Item {
  isDone: boolean;
}

/** Makes lines of events. `now` is in milliseconds. */
export function fdProgress(sink: LineSink, now: () => number = () => performance.now()): FdProgress {
  const running = new RunningItems(now);
  const known = new Map<string, Known>();
  let cached = 0;
  let finished = 0;
  let lastLine = Number.NEGATIVE_INFINITY;
  let isStale = false;
  sink.write(`${JSON.stringify({ type: "Start", version: VERSION })}\n`);

  const say = () => {
    lastLine = now();
    isStale = false;
    const items = [...known.values()];
    const sum = (value: (item: Known) => number) => items.reduce((total, item) => total + value(item), 0);
    // Unknown as long as one of them is.
    const bytesTotal = items.every(({ total }) => total !== undefined) ? sum(({ total = 0 }) => total) : 0;
    sink.write(
      `${JSON.stringify({
        type: "ProgressBytes",
        task: "pulling",
        description: "Pulling the image",
        id: "composefs-pull",
        bytesCached: 0,
        bytes: sum(({ done }) => done),
        bytesTotal,
        stepsCached: cached,
        steps: finished,
        stepsTotal: known.size + cached,
        // What is complete has been said once.
        subtasks: items.filter(({ isDone }) => !isDone).map(subtask),
      })}\n`,
    );
  };
  const listen = (event: ProgressEvent) => {
    if (event.type === "note" || event.type === "warning") return;
    const item = running.apply(event);
    if (item === undefined) {
      // What is there already is reported without a start.
      if (event.type === "done" && event.skipped === true) {
        cached++;
        say();
      }
      return;
    }
    if (!countsBytes(item.kind)) return;
    const entry: Known = Object.assign(known.get(item.id) ?? { isDone: false }, item);
    known.set(item.id, entry);
    if (event.type === "done") {
      if (event.skipped === true) {
        known.delete(item.id);
        cached++;
      } else {
        finished++;
        entry.done = entry.total ?? entry.done;
      }
      say();
      entry.isDone = true;
      return;
    }
    // Who is behind is spared what the next line says anyway.
    if (now() - lastLine >= INTERVAL_MS && !sink.isBehind) say();
    else isStale = true;
  };
  return {
    listen,
    stop: () => {
      if (isStale) say();
      const tries = PATIENCE_MS / 10;
      for (let i = 0; i < tries && sink.isBehind; i++) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
        sink.write("");
      }
    },
  };
}

function subtask({ id, kind, label, done, total }: Known): object {
  return {
    subtask: `composefs_${kind}`,
    description: `${kind[0]?.toUpperCase()}${kind.slice(1)}: ${label}`,
    id,
    bytesCached: 0,
    bytes: done,
    bytesTotal: total ?? 0,
  };
}
