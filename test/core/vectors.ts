// The golden fs-verity vectors and the data they describe, produced in pieces of bounded size.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { goldensDir } from "../goldens-dir.ts";

type Pattern =
  | { kind: "byte"; value: number }
  | { kind: "affine"; mul: number; add: number }
  | { kind: "xorshift32"; seed: number }
  | { kind: "tail"; value: number; last: number };

export interface Vector {
  size: number;
  pattern: Pattern;
  sha256: string;
  sha512: string;
  /** Larger than 8 MiB. */
  slow?: boolean;
}

/** All vectors of the golden file. */
export function readVectors(): Vector[] {
  const { vectors } = JSON.parse(readFileSync(join(goldensDir("fsverity"), "vectors.json"), "utf8")) as {
    vectors: Vector[];
  };
  if (vectors.length === 0) throw new Error("vectors.json holds no vectors");
  return vectors;
}

export function describeVector({ size, pattern }: Vector): string {
  return `${size} bytes ${JSON.stringify(pattern)}`;
}

/** Data of a vector, written into `target` from byte `position` of the data on. */
function filler({ size, pattern }: Vector): (target: Uint8Array, position: number) => void {
  switch (pattern.kind) {
    case "byte":
      return (target) => target.fill(pattern.value);
    case "tail":
      return (target, position) => {
        target.fill(pattern.value);
        if (position + target.length === size) target[target.length - 1] = pattern.last;
      };
    case "affine":
      return (target, position) => {
        for (let i = 0; i < target.length; i++) target[i] = (position + i) * pattern.mul + pattern.add;
      };
    case "xorshift32": {
      // Each step depends on the last one: made once, these vectors are small.
      const all = Buffer.alloc(Math.ceil(size / 4) * 4);
      let x = pattern.seed;
      for (let i = 0; i < all.length; i += 4) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        all.writeInt32LE(x, i);
      }
      return (target, position) => target.set(all.subarray(position, position + target.length));
    }
    default:
      throw new Error(`vectors.json holds the unknown pattern ${JSON.stringify(pattern)}`);
  }
}

/** The data in pieces; the lengths are asked for one by one. A piece is valid until the next one is asked for. */
export function* vectorData(vector: Vector, nextLength: () => number): Iterable<Uint8Array> {
  const fill = filler(vector);
  for (let position = 0; position < vector.size; ) {
    const piece = new Uint8Array(Math.min(nextLength(), vector.size - position));
    fill(piece, position);
    yield piece;
    position += piece.length;
  }
}

/** The whole data. */
export function wholeData(vector: Vector): Uint8Array {
  const data = new Uint8Array(vector.size);
  filler(vector)(data, 0);
  return data;
}
