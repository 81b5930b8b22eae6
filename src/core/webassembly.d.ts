// The few types of the WebAssembly JavaScript interface that the loader and the generated binding name. The type packages
// in use leave them to the DOM library, which is not wanted here.

declare namespace WebAssembly {
  // oxlint-disable-next-line typescript/no-extraneous-class -- this is its interface
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports?: Record<string, unknown>);
    readonly exports: Record<string, unknown>;
  }
  class Memory {
    readonly buffer: ArrayBuffer;
  }
  class RuntimeError extends Error {}
}
