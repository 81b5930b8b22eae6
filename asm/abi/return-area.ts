// Results that do not fit one wasm value (docs/spec/wasm-core.md, section 2.2): the callee writes them into an area of
// its own and answers the area's address. One static area is enough, as calls are synchronous and never nest.
// Blocks that the area points to are lent until the host has copied them; then it calls the post-return function.

/** The largest result here is `result<_, failure>`: 48 bytes. */
const AREA_SIZE: usize = 64;
const AREA: usize = memory.data(64, 16);

/** No result holds more than three lists or strings (`failure` has three). */
const LENT_SLOTS: i32 = 4;
const LENT: usize = memory.data(16, 4);
let lent: i32 = 0;

/** The return area, cleared. Fill it at the offsets of the canonical ABI and return its address. */
export function returnArea(): usize {
  memory.fill(AREA, 0, AREA_SIZE);
  return AREA;
}

/** Puts a list or string at `offset`: `address` is a block of `heap.alloc` that is given away and freed after the call. */
export function giveBlock(offset: usize, address: usize, length: usize): void {
  store<u32>(AREA + offset, <u32>address);
  store<u32>(AREA + offset + 4, <u32>length);
  if (length != 0) {
    if (lent == LENT_SLOTS) unreachable();
    store<u32>(LENT + (<usize>lent << 2), <u32>address);
    lent++;
  }
}

/** Puts a copy of the bytes at `offset` as a list or string. */
export function giveCopy(offset: usize, source: usize, length: usize): void {
  let block: usize = 1;
  if (length != 0) {
    block = heap.alloc(length);
    memory.copy(block, source, length);
  }
  giveBlock(offset, block, length);
}

/** Puts the text at `offset` as a string. */
export function giveText(offset: usize, text: string): void {
  const length = <usize>String.UTF8.byteLength(text);
  if (length == 0) return giveBlock(offset, 1, 0);
  const block = heap.alloc(length);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, block);
  giveBlock(offset, block, length);
}

/** A `list<u8>` result: a copy of the bytes. */
export function returnCopy(source: usize, length: usize): usize {
  const area = returnArea();
  giveCopy(0, source, length);
  return area;
}

/** A `list<u8>` result: a block of `heap.alloc` that is given away. */
export function returnBlock(address: usize, length: usize): usize {
  const area = returnArea();
  giveBlock(0, address, length);
  return area;
}

/** A `tuple<u32, u32>` result. */
export function returnPair(first: u32, second: u32): usize {
  const area = returnArea();
  store<u32>(area, first);
  store<u32>(area, second, 4);
  return area;
}

/** The post-return function of every export that answers a return area: frees what the last result lent. */
export function postReturn(area: usize): void {
  while (lent > 0) {
    lent--;
    heap.free(<usize>load<u32>(LENT + (<usize>lent << 2)));
  }
}
