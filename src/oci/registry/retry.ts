// What is worth another try, and when (docs/spec/oci.md, section 3.4).

import { ComposefsError } from "../../error.ts";

/** Tries without progress, the first one too. */
export const MAX_TRIES = 5;

const RETRIED: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** A failure that may be over the next time. `error` is what to report when it is not. */
export class Transient extends Error {
  override readonly name = "Transient";
  readonly error: ComposefsError;
  /** Milliseconds that the server asks for, if it does. */
  readonly after: number | undefined;

  constructor(error: ComposefsError, after?: number) {
    super(error.message, { cause: error });
    this.error = error;
    this.after = after;
  }
}

/** Whether a status may be another one the next time. */
export function isTransient(status: number): boolean {
  return RETRIED.has(status);
}

/** `Retry-After` in milliseconds, at most a minute; undefined where it says nothing. */
export function retryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const milliseconds = /^[0-9]{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(milliseconds) ? undefined : Math.min(Math.max(milliseconds, 0), 60_000);
}

/**
 * Milliseconds to wait before the try with that number, counted from 1: twice as long each time, half a minute at most, and
 * not for all clients the same.
 */
export function backoff(tries: number, unit: number): number {
  return Math.min(2 ** tries * unit, 30 * unit) * (0.5 + Math.random() / 2);
}

/** Waits; ends at once with `aborted` when the signal fires. */
export function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new ComposefsError("aborted", "interrupted", { cause: signal?.reason }));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
