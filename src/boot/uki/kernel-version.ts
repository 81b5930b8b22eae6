// The version that a kernel says it has, where its format has a place for that: x86's bzImage (the kernel's boot protocol, "HdrS").

import type { PeSource } from "../pe/read.ts";

const MAGIC_AT = 0x202;
const POINTER_AT = 0x20e;
const BASE = 0x200;
const LONGEST = 256;

/** The version, as `uname -r` prints it; undefined for kernels that do not tell. */
export function kernelVersionOf(kernel: PeSource): string | undefined {
  const head = kernel.read(0, POINTER_AT + 2);
  if (head.length < POINTER_AT + 2 || Buffer.from(head).toString("latin1", MAGIC_AT, MAGIC_AT + 4) !== "HdrS") {
    return undefined;
  }
  const pointer = (head[POINTER_AT] as number) | ((head[POINTER_AT + 1] as number) << 8);
  if (pointer === 0) return undefined;
  const text = Buffer.from(kernel.read(BASE + pointer, LONGEST)).toString("latin1");
  return /^[!-~]+/.exec(text)?.[0];
}
