// One run of the dump benchmark on a tree in memory: reads the dump into a tree, then measures its image alone.
// Prints {"seconds", "id"}.

import { closeSync, openSync, readSync } from "node:fs";
import { imageId } from "../dist/image/write.js";
import { readDump } from "../dist/tree/dump-read.js";

function* pieces(path) {
  const fd = openSync(path);
  const buffer = Buffer.alloc(1 << 20);
  for (let n; (n = readSync(fd, buffer)) > 0; ) yield buffer.subarray(0, n);
  closeSync(fd);
}

const tree = readDump(pieces(process.argv[2]));
globalThis.gc?.();
const start = performance.now();
const { id } = imageId(tree, { version: 1, algorithm: "sha256" });
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, id }));
