// The examples for the library are typed strictly, and run.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { completeSysroot } from "../deploy/complete-sysroot.ts";
import { hostLayout } from "../deploy/host-images.ts";
import { run, temporaryDirectory } from "./program.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = temporaryDirectory();
const names = ["deploy-status", "sealed-disk"];
const example = (name: string, ...words: string[]) =>
  run(words, { program: join(directory, `out/${name}.js`), env: { container: "oci" } });

beforeAll(() => {
  mkdirSync(join(directory, "node_modules"));
  symlinkSync(root, join(directory, "node_modules/composefs"));
  symlinkSync(join(root, "node_modules/@types"), join(directory, "node_modules/@types"));
  for (const name of names) cpSync(join(root, `examples/${name}.ts`), join(directory, `${name}.ts`));
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
  const compilerOptions = {
    target: "es2022",
    lib: ["es2023", "esnext.disposable"],
    module: "nodenext",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    outDir: "out",
    rootDir: ".",
    types: ["node"],
  };
  const files = names.map((name) => `${name}.ts`);
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", directory], { encoding: "utf8", stdio: ["ignore", "inherit", "inherit"] });
}, 60_000);

it("deploy-status says what is there", async () => {
  const sysroot = join(directory, "status");
  mkdirSync(sysroot);
  await completeSysroot(sysroot, ["host1", "host2"]);
  expect(await example("deploy-status", sysroot)).toEqual({
    status: 0,
    stdout: "other: q.x/host1:1 1.0\nother: q.x/host2:1 1.1\n",
    stderr: "",
  });
  expect((await example("deploy-status")).stdout).toBe("this machine runs no deployment\n");
});

it("sealed-disk makes a disk of an image, and says what is wrong with one", async () => {
  hostLayout(join(directory, "layout"), { version: "1" });
  const { status, stdout, stderr } = await example("sealed-disk", join(directory, "layout"), join(directory, "disk"));
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(
    /^installed [0-9a-f]{128} from sha256:.*\n.*disk\.img: \d+ bytes, \d+ files sealed, 2 partitions\n$/,
  );
  expect(existsSync(join(directory, "disk/disk.img"))).toBe(true);
  hostLayout(join(directory, "bootless"), { version: "2", bootless: true });
  const refused = await example("sealed-disk", join(directory, "bootless"), join(directory, "none"));
  expect([refused.status, refused.stderr]).toEqual([1, expect.stringMatching(/^E_NO_BOOT_ENTRIES: /)]);
  expect(readdirSync(join(directory, "none"))).toEqual(["esp", "sysroot"]);
});
