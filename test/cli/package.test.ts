// The packed package as its users get it: typed, complete, and without anything that does not belong.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { run, temporaryDirectory } from "./program.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = temporaryDirectory();
const installed = join(directory, "node_modules/composefs");

beforeAll(() => {
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", directory], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  ) as [{ filename: string }];
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(directory, packed.filename), "-C", installed, "--strip-components=1"]);
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { dependencies: object };
  for (const name of ["@types", "undici-types", ...Object.keys(dependencies)]) {
    symlinkSync(join(root, "node_modules", name), join(directory, "node_modules", name));
  }
});

describe("the package", () => {
  it("types a program strictly, with no help from our settings", () => {
    cpSync(join(root, "examples/library.ts"), join(directory, "library.ts"));
    writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(
      join(directory, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2022",
          lib: ["es2023", "esnext.disposable"],
          module: "nodenext",
          strict: true,
          noEmit: true,
          skipLibCheck: false,
          types: ["node"],
        },
        files: ["library.ts"],
      }),
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    let output = "";
    try {
      output = execFileSync(process.execPath, [tsc, "-p", directory], { encoding: "utf8" });
    } catch (error) {
      output = (error as { stdout: string }).stdout;
    }
    expect(output).toBe("");
    // And it is the program that the README shows.
    const program = readFileSync(join(root, "examples/library.ts"), "utf8").replace(/^(?:\/\/.*\n)+\n/, "");
    expect(readFileSync(join(root, "README.md"), "utf8")).toContain(program);
  });

  it("runs from where it was installed", async () => {
    const program = join(installed, "dist/cli/main.js");
    const repository = join(directory, "repository");
    expect((await run(["init", "--insecure", repository], { program })).status).toBe(0);
    const layout = join(root, "examples/layout");
    const words = [
      "--repo",
      repository,
      "oci",
      "pull",
      "--platform",
      "linux/amd64",
      `oci:${layout}:v1`,
      "x",
      "--quiet",
    ];
    const { status, stdout, stderr } = await run(words, { program });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { id } = JSON.parse(readFileSync(join(root, "examples/expected.json"), "utf8")) as { id: string };
    expect(stdout).toContain(id);
  });
});
