// Stable merge sort of an array of addresses.

/** Negative, zero or positive as the object at `a` sorts before, with or after the one at `b`. */
export type Comparison = (a: usize, b: usize) => i32;

/** Sorts `count` addresses (u32 each) at `items`; `scratch` has room for as many. Equal objects keep their order. */
export function sortAddresses(items: usize, count: u32, scratch: usize, compare: Comparison): void {
  let from = items;
  let to = scratch;
  for (let width: u32 = 1; width < count; width <<= 1) {
    for (let start: u32 = 0; start < count; start += width << 1) {
      mergeRuns(from, to, start, min(start + width, count), min(start + (width << 1), count), compare);
    }
    const swap = from;
    from = to;
    to = swap;
  }
  if (from != items) memory.copy(items, from, <usize>count << 2);
}

function mergeRuns(from: usize, to: usize, start: u32, middle: u32, end: u32, compare: Comparison): void {
  let left = start;
  let right = middle;
  for (let i = start; i < end; i++) {
    const takeLeft = left < middle && (right >= end || compare(addressAt(from, left), addressAt(from, right)) <= 0);
    store<u32>(to + (<usize>i << 2), <u32>addressAt(from, takeLeft ? left++ : right++));
  }
}

@inline
function addressAt(items: usize, index: u32): usize {
  return <usize>load<u32>(items + (<usize>index << 2));
}
