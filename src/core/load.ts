// Loads the WebAssembly core: the only file that touches the generated binding (docs/spec/wasm-core.md, section 2.4).
// Loading is lazy and synchronous, and everything compiled is shared: one compilation per process, one instance per thread.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { ComposefsError } from "../error.ts";

type Binding = typeof import("./generated/core.js");
type FsverityInterface = ReturnType<Binding["instantiate"]>["fsverity"];
type ErofsInterface = ReturnType<Binding["instantiate"]>["erofs"];
type ErofsReaderInterface = ReturnType<Binding["instantiate"]>["erofsReader"];

/** The compiled core modules by file name. They can be sent to another thread, which saves it the compilation. */
export type CoreModules = Record<string, WebAssembly.Module>;

/**
 * Exports of the core module beside the component's: plain numbers in and out, for work too small to pay for a component
 * call (asm/fsverity/raw.ts). Addresses are offsets in {@link Core.memory}.
 */
export interface RawExports {
  /** Address of a 1 MiB area for data. */
  rawInput(): number;
  /** Address of a 16 KiB area for digests. */
  rawOutput(): number;
  /** Writes the digests of `count` whole blocks at `data` to `digests`. */
  rawHashBlocks(algorithm: number, data: number, count: number, digests: number): void;
  /** Writes the fs-verity digest of the data to `digest`. */
  rawDigest(algorithm: number, data: number, length: number, digest: number): void;
  rawHasherNew(algorithm: number): number;
  rawHasherFree(hasher: number): void;
  /** Makes a hasher as new, whether or not it is spent. */
  rawHasherReset(hasher: number): void;
  /** Makes room for at least `min` bytes (at most 1 MiB) and answers how many fit at `rawHasherWindow`. */
  rawHasherRoom(hasher: number, min: number): number;
  rawHasherWindow(hasher: number): number;
  rawHasherAdvance(hasher: number, n: number): void;
  /** Writes the digest; `size` is the file size in the descriptor, or negative for the number of bytes consumed. */
  rawHasherFinish(hasher: number, size: number, digest: number): void;
}

/** One instance of the core. */
export interface Core {
  readonly fsverity: FsverityInterface;
  readonly erofs: ErofsInterface;
  readonly erofsReader: ErofsReaderInterface;
  readonly raw: RawExports;
  /** Its linear memory. Any call may grow it, which detaches all views; see {@link coreBytes}. */
  readonly memory: WebAssembly.Memory;
}

const MODULE_NAMES = ["core.core.wasm", "core.core2.wasm", "core.core3.wasm"];

let modules: CoreModules | undefined;
let current: Core | undefined;

/** The compiled modules, for `workerData`. */
export function coreModules(): CoreModules {
  modules ??= Object.fromEntries(
    MODULE_NAMES.map((name) => [
      name,
      new WebAssembly.Module(readFileSync(new URL(`./generated/${name}`, import.meta.url))),
    ]),
  );
  return modules;
}

/** In a worker, before the first use: takes over the modules that another thread compiled. */
export function adoptCoreModules(compiled: CoreModules): void {
  modules ??= compiled;
}

/** The core instance of this thread, made at the first call and again after a trap. */
export function core(): Core {
  current ??= newCore();
  return current;
}

/**
 * An instance of its own, for work whose memory should go away with it: linear memory grows and never shrinks.
 * It takes under a millisecond once the modules are compiled.
 */
export function newCore(): Core {
  // Synchronous `require` of an ES module works on all supported runtimes and keeps the binding out of start-up.
  const { instantiate } = createRequire(import.meta.url)("./generated/core.js") as Binding;
  const compiled = coreModules();
  let exports: (RawExports & { memory: WebAssembly.Memory }) | undefined;
  const root = instantiate(
    (path) => {
      const module = compiled[path];
      if (module === undefined)
        throw new ComposefsError("internal", `the core needs a module ${path} that is not built`);
      return module;
    },
    // The world imports nothing; the generated type lists an interface that only holds types.
    {} as Parameters<Binding["instantiate"]>[1],
    (module, imports) => {
      const instance = new WebAssembly.Instance(module, imports);
      if ("memory" in instance.exports) exports = instance.exports as unknown as typeof exports;
      return instance;
    },
  );
  if (exports === undefined) throw new ComposefsError("internal", "the core exports no memory");
  return {
    fsverity: root.fsverity,
    erofs: root.erofs,
    erofsReader: root.erofsReader,
    raw: exports,
    memory: exports.memory,
  };
}

/** A view of the core's memory. Valid until the next call into that instance. */
export function coreBytes(instance: Core, address: number, length: number): Uint8Array {
  return new Uint8Array(instance.memory.buffer, address, length);
}

/**
 * Runs calls into an instance. A trap kills the instance (the state of its memory is unknown); it is forgotten, so that
 * {@link core} makes a fresh one, and becomes an `internal` error. Other errors pass through.
 */
export function inCore<T>(instance: Core, calls: () => T): T {
  try {
    return calls();
  } catch (error) {
    throw coreTrap(instance, error) ?? error;
  }
}

/** The `internal` error if the error is a trap of that instance (see {@link inCore}), else undefined. */
export function coreTrap(instance: Core, error: unknown): ComposefsError | undefined {
  const dead = error instanceof Error && error.message.includes("cannot enter component instance");
  if (!dead && !(error instanceof WebAssembly.RuntimeError)) return undefined;
  if (current === instance) current = undefined;
  return new ComposefsError("internal", `the WebAssembly core failed: ${error.message}`, {
    cause: error,
    hint: "this is a fault of composefs, or memory is exhausted; please report it with the command that caused it",
  });
}
