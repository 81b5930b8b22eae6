// Runs tasks side by side, a few at a time. The first failure stops the others and is the one that is thrown.

import { throwIfAborted } from "../error.ts";

/**
 * Runs `task` for every item, at most `limit` at once, starting them in order. Waits for all that were started, also
 * after a failure, so that nothing goes on behind the caller's back.
 *
 * @param signal the caller's; tasks get one that also fires when another task fails
 */
export async function runBounded<T>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  task: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  throwIfAborted(signal);
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length && !stop.signal.aborted) {
      const item = items[next++] as T;
      try {
        await task(item, stop.signal);
      } catch (error) {
        failures.push(error);
        stop.abort(error);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
  if (failures.length > 0) throw failures[0];
  throwIfAborted(signal);
}
