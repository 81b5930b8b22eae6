#!/usr/bin/env node
// The program `composefs`. Only what `--version` needs is loaded here: start-up time is a feature, and everything else
// comes with the import of ./run.ts.

import { readFileSync } from "node:fs";

const args = process.argv.slice(2);

if (args.length === 1 && (args[0] === "--version" || args[0] === "-V")) {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  process.stdout.write(`composefs ${version}\n`);
} else {
  const { C_TOOLS } = await import("./c-tools.ts");
  let at = 0;
  if (args[0]?.startsWith("-") === true && args.some((word) => C_TOOLS.has(word))) {
    const { placeOfCommand } = await import("./parse.ts");
    at = placeOfCommand(args);
  }
  // Global options before its name mean nothing to a tool that uses no repository; cfsctl takes them, too.
  const tool = C_TOOLS.get(args[at] ?? "");
  if (tool === undefined) {
    const { run } = await import("./run.ts");
    await run(args);
  } else {
    process.argv.splice(2, at + 1);
    await tool.run();
  }
}
