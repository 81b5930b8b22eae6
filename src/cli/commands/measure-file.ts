// `composefs measure-file FILE...`: fs-verity digests, as `composefs-info measure-file` and `fsverity digest` compute them

import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";

export const measureFile: Command = {
  name: "measure-file",
  summary: "print the fs-verity digest of files",
  description:
    "The digest that the kernel would give the file with 4096-byte blocks and no salt; sha256 unless --hash says sha512.",
  arguments: [{ name: "FILE", repeat: true, description: "files to measure", completes: "file" }],
  options: [{ name: "jobs", value: "NUMBER", description: "threads for a big file, instead of one a processor" }],
  examples: [
    { line: "measure-file /usr/bin/env", says: "one digest a line" },
    { line: "measure-file --hash sha512 --json a b", says: "with names and sizes" },
  ],
  async run({ args, global, text, out, signal }) {
    // Part of the library like all that commands call; alone it loads in a fraction of the time.
    const { measureFile: measure } = await import("../../core/measure.ts");
    const algorithm = global.hash ?? "sha256";
    const jobs = text("jobs");
    const threads = jobs === undefined ? undefined : Number(jobs);
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
      throw new UsageError(`option --jobs takes a number from 1 to 64, not "${jobs}"`);
    }
    const files = [];
    for (const path of args) {
      const { digest, size } = await measure(algorithm, path, { signal, ...(threads !== undefined && { threads }) });
      if (global.json) files.push({ path, algorithm, digest, size });
      else await out.line(digest);
    }
    if (global.json) await out.json({ files });
  },
};
