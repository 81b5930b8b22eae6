// Whether a signed file is still the file that was signed: signatures add to the end and change fields of the headers, and nothing else.

import { throwIfAborted } from "../../error.ts";
import type { PeSource } from "./read.ts";
import { appendedChunks, type AppendPlan } from "./append.ts";
import { readPeImage } from "./image.ts";

/**
 * Compares all that is loaded: the section tables, and everything behind the headers.
 *
 * @param plan what the file was written from
 * @throws ComposefsError `invalid` (`uki-not-pe`) when the file cannot be loaded
 */
export function holdsPlanned(plan: AppendPlan, file: PeSource, what: string, signal?: AbortSignal): boolean {
  const image = readPeImage(file, what);
  const planned = readPeImage({ size: plan.head.length, read: (at, n) => plan.head.subarray(at, at + n) }, what);
  if (JSON.stringify(image.pe.sections) !== JSON.stringify(planned.pe.sections)) return false;
  let position = 0;
  for (const chunk of appendedChunks(plan, signal)) {
    throwIfAborted(signal);
    const start = Math.max(position, planned.sizeOfHeaders);
    const end = position + chunk.length;
    if (start < end) {
      const bytes = file.read(start, end - start);
      if (Buffer.compare(bytes, chunk.subarray(start - position)) !== 0) return false;
    }
    position = end;
  }
  return true;
}
