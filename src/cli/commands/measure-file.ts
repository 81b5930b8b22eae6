// `composefs measure-file FILE...`: fs-verity digests, as `composefs-info measure-file` and `fsverity digest` compute them

import type { Command } from "../command.ts";
import { jobsGiven, jobsOption } from "../jobs.ts";

export const measureFile: Command = {
  name: "measure-file",
  summary: "print the fs-verity digest of files",
  description:
    "The digest that the kernel would give the file with 4096-byte blocks and no salt; sha256 unless --hash says sha512.",
  arguments: [{ name: "FILE", repeat: true, description: "files to measure", completes: "file" }],
  options: [jobsOption("threads that hash a large file")],
  examples: [
    { line: "measure-file /usr/bin/env", says: "one digest a line" },
    { line: "measure-file --hash sha512 --json a b", says: "with names and sizes" },
  ],
  async run(context) {
    const { args, out, global, signal } = context;
    const threads = jobsGiven(context);
    const { measureFile: measure } = await import("../../core/measure.ts");
    const algorithm = global.hash ?? "sha256";
    const files = [];
    for (const path of args) {
      const { digest, size } = await measure(algorithm, path, {
        signal,
        ...(threads === undefined ? {} : { threads }),
      });
      if (global.json) files.push({ path, algorithm, digest, size });
      else await out.line(digest);
    }
    if (global.json) await out.json({ files });
  },
};
