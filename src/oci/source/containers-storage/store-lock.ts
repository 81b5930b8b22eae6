// podman's lock on the layers of a store (docs/spec/containers-storage.md, section 9). It keeps others from removing a layer while it is
// read; that what was read is right is proved without it, so a store whose lock cannot be had is read all the same.

import { closeSync, constants, openSync, readSync } from "node:fs";

import { throwIfAborted } from "../../../error.ts";
import { syscalls } from "../../../runtime/syscalls.ts";

/** A build can hold the lock for as long as it unpacks a layer; reading need not wait for that. */
const PATIENCE_MS = 10_000;
const PAUSE_MS = 50;
const STAMP_SIZE = 64;

/** A lock that was taken, or not. Dispose it. */
export interface StoreLock extends Disposable {
  /** Whether no other program can change the layers now. */
  readonly held: boolean;
}

/**
 * Takes the shared lock on the layers, waiting up to 10 s for a program that writes. Never makes or changes the file.
 *
 * @throws ComposefsError `aborted`
 */
export async function lockLayers(root: string, signal?: AbortSignal): Promise<StoreLock> {
  const fd = openLock(root);
  if (fd === undefined) return { held: false, [Symbol.dispose]: () => undefined };
  let open = true;
  const close = () => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    const calls = syscalls();
    const end = performance.now() + PATIENCE_MS;
    let held = calls.tryReadRecordLock?.(fd);
    while (held === false && performance.now() < end) {
      throwIfAborted(signal);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      held = calls.tryReadRecordLock?.(fd);
    }
    return { held: held === true, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** What changes with each change of the layers; the empty text where there is none. */
export function layersStamp(root: string): string {
  const fd = openLock(root);
  if (fd === undefined) return "";
  try {
    const bytes = Buffer.alloc(STAMP_SIZE);
    return bytes.toString("hex", 0, readSync(fd, bytes, 0, STAMP_SIZE, 0));
  } finally {
    closeSync(fd);
  }
}

function openLock(root: string): number | undefined {
  try {
    return openSync(
      `${root}/overlay-layers/layers.lock`,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
  } catch {
    return undefined;
  }
}
