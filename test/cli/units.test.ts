// The example units of systemd: their commands are ones that the command line understands, and systemd has nothing to say about them.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { parse } from "../../src/cli/parse.ts";
import { temporaryDirectory } from "./program.ts";

const folder = fileURLToPath(new URL("../../examples/systemd", import.meta.url));
const units = readdirSync(folder);
const text = (unit: string) => readFileSync(join(folder, unit), "utf8");

it("their commands are understood", async () => {
  const commands = units.flatMap((unit) =>
    [...text(unit).matchAll(/^Exec\w+=\/usr\/bin\/composefs (.*)$/gm)].map(([, line = ""]) => line.split(" ")),
  );
  const names = await Promise.all(commands.map(async (words) => (await parse(words)).command?.name));
  expect(names).toEqual(["deploy finalize", "deploy upgrade"]);
});

it("the unit that upgrade starts is there", () => {
  const source = readFileSync(fileURLToPath(new URL("../../src/deploy/finalize-service.ts", import.meta.url)), "utf8");
  const [, name = ""] = /"(\S+\.service)"/.exec(source) ?? [];
  expect(units).toContain(name);
});

it.skipIf(spawnSync("systemd-analyze", ["--version"]).status !== 0)("systemd verifies them", () => {
  const directory = temporaryDirectory();
  const files = units.map((unit) => {
    const file = join(directory, unit);
    // The program need not be installed here.
    writeFileSync(file, text(unit).replaceAll("/usr/bin/composefs", "/usr/bin/true"));
    return file;
  });
  const { stderr, status } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
  // Units of this machine may have faults of their own.
  const own = stderr.split("\n").filter((line) => units.some((unit) => line.includes(unit)));
  expect({ own, status }).toEqual({ own: [], status: 0 });
});
