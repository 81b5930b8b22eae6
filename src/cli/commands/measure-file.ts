// `composefs measure-file FILE...`: fs-verity digests, as `composefs-info measure-file` and `fsverity digest` compute them

import { closeSync, fstatSync, openSync } from "node:fs";
import type { Command } from "../command.ts";

export const measureFile: Command = {
  name: "measure-file",
  summary: "print the fs-verity digest of files",
  description:
    "The digest that the kernel would give the file with 4096-byte blocks and no salt; sha256 unless --hash says sha512.",
  arguments: [{ name: "FILE", repeat: true, description: "files to measure", completes: "file" }],
  options: [],
  examples: [
    { line: "measure-file /usr/bin/env", says: "one digest a line" },
    { line: "measure-file --hash sha512 --json a b", says: "with names and sizes" },
  ],
  async run({ args, out, global, signal }) {
    const { fsverityFile } = await import("../../index.ts");
    const algorithm = global.hash ?? "sha256";
    const results = [];
    for (const path of args) {
      signal.throwIfAborted();
      const fd = openSync(path, "r");
      try {
        const digest = fsverityFile(algorithm, fd);
        if (global.json) results.push({ path, algorithm, digest, size: fstatSync(fd).size });
        else await out.line(digest);
      } finally {
        closeSync(fd);
      }
    }
    if (global.json) await out.json({ files: results });
  },
};
