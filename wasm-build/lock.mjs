// One build at a time: a directory as a lock, with the owner's process id so that a crashed owner does not block.

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";

const POLL_MS = 50;
/** Time between making the directory and writing the process id into it: no owner is that slow. */
const GRACE_MS = 2_000;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function ownerIsGone(path) {
  try {
    const owner = Number(readFileSync(`${path}/pid`, "utf8"));
    process.kill(owner, 0);
    return false;
  } catch (error) {
    if (error.code === "ESRCH") return true;
    if (error.code === "EPERM") return false;
  }
  try {
    return Date.now() - statSync(path).mtimeMs > GRACE_MS;
  } catch {
    return false;
  }
}

/** Waits for the lock directory, takes it, and answers the function that gives it back. */
export function takeLock(path) {
  for (;;) {
    try {
      mkdirSync(path);
      writeFileSync(`${path}/pid`, `${process.pid}`);
      return () => rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (ownerIsGone(path)) rmSync(path, { recursive: true, force: true });
    else Atomics.wait(sleeper, 0, 0, POLL_MS);
  }
}
