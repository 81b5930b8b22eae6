// A loss of power after a number of calls that change files: from then on none does, until it comes back.

import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

/** Every call that changes something fails with this while the power is off. */
export class PowerCut extends Error {
  constructor() {
    super("the power was cut");
  }
}

const CHANGING = [
  "renameSync",
  "writeSync",
  "writeFileSync",
  "mkdirSync",
  "rmdirSync",
  "unlinkSync",
  "rmSync",
  "symlinkSync",
  "linkSync",
  "fsyncSync",
  "fchmodSync",
  "chmodSync",
  "ftruncateSync",
  "copyFileSync",
] as const;

type Calls = Record<string, (...args: unknown[]) => unknown>;

/**
 * Runs work whose power is cut before a call.
 *
 * @param after how many calls still change something
 * @returns whether the power was cut before the work was done
 */
export async function withPowerCut(after: number, work: () => Promise<unknown>): Promise<boolean> {
  const calls = fs as unknown as Calls;
  const originals = new Map<string, (...args: unknown[]) => unknown>();
  let left = after;
  let isCut = false;
  const tick = () => {
    if (left-- > 0) return;
    isCut = true;
    throw new PowerCut();
  };
  const replace = (name: string, changes: (args: unknown[]) => boolean) => {
    const original = calls[name];
    if (!original) throw new Error(`there is no ${name}`);
    originals.set(name, original);
    calls[name] = (...args) => {
      if (changes(args)) tick();
      return original(...args);
    };
  };
  for (const name of CHANGING) replace(name, () => true);
  replace("openSync", ([, flags]) =>
    typeof flags === "number"
      ? (flags & (fs.constants.O_CREAT | fs.constants.O_TRUNC)) !== 0
      : typeof flags === "string" && /[wax]/.test(flags),
  );
  syncBuiltinESMExports();
  try {
    await work();
  } catch (error) {
    // What the work made of it counts as the cut, too.
    if (!isCut) throw error;
  } finally {
    for (const [name, original] of originals) calls[name] = original;
    syncBuiltinESMExports();
  }
  return isCut;
}
