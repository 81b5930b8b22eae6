// Memory that crosses the component boundary (docs/spec/wasm-core.md, section 2.2).
// Incoming lists and strings are placed by the host through `cabi_realloc` and belong to the callee, which frees
// them with `freeIncoming` when it is done.

/** The canonical ABI's allocator. For no bytes it answers any aligned address that is not null. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, newSize: usize): usize {
  if (newSize == 0) return align;
  if (oldSize == 0) return heap.alloc(newSize);
  return heap.realloc(old, newSize);
}

/** Frees a list or string that came in as an argument. An empty one was never allocated. */
export function freeIncoming(address: usize, length: usize): void {
  if (length != 0) heap.free(address);
}
