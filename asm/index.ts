// The core: everything that leaves the module. Its contract is core.wit; read that first.
//
// Functions in */exports.ts are the interfaces of core.wit. wasm-build/export-names.mjs gives them their WIT names by
// one rule, so a new member of an interface needs nothing but a function of the right name:
//   hashBlocks            -> hash-blocks                  function of the interface
//   hasher_constructor    -> [constructor]hasher          answers the handle
//   hasher_pushDump       -> [method]hasher.push-dump     first argument: the representation
//   hasher_drop           -> [dtor]hasher                 argument: the representation
// Which file is which interface: the table at the top of wasm-build/export-names.mjs.
// Functions in */raw.ts keep their names. They only repeat what WIT offers, for a host that sees the linear memory and
// cannot afford the cost of a component call per small file.

export { cabi_realloc } from "./abi/memory";
export { postReturn } from "./abi/return-area";
export * from "./fsverity/exports";
export * from "./erofs/exports";
export * from "./erofs-read/exports";
export * from "./fsverity/raw";
