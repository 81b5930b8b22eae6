// `deploy etc-diff` as users see it.

import { cpSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { type CompleteDeployment, completeSysroot } from "../deploy/complete-sysroot.ts";
import { run, temporaryDirectory } from "./program.ts";

const whole = temporaryDirectory();
const work = temporaryDirectory();
let sysroot: string;
let count = 0;
let ids: string[];

beforeAll(async () => {
  const deployments: CompleteDeployment[] = await completeSysroot(whole, ["host1", "host2"]);
  ids = deployments.map(({ id }) => id);
});

beforeEach(() => {
  sysroot = join(work, String(count++));
  cpSync(whole, sysroot, { recursive: true, verbatimSymlinks: true });
});

const etcDiff = (...words: string[]) => run(["deploy", "etc-diff", "--sysroot", sysroot, ...words]);
const at = (path: string) => join(sysroot, "state/deploy", ids[0] ?? "", "etc", path);

it("shows changes below the /etc of the base, or below any other one", async () => {
  writeFileSync(at("a new file"), "x");
  const empty = await etcDiff("--json");
  const all = JSON.parse(empty.stdout) as { added: string[]; removed: string[] };
  expect(all.added).toEqual(["a new file"]);
  expect(all.removed.length).toBeGreaterThan(1);
  const lines = (await etcDiff()).stdout.split("\n");
  expect(lines).toEqual(["Added a new file", ...all.removed.map((path) => `Removed ${path}`), ""]);
  expect((await etcDiff("--etc", at(""), "--base", ids[1] ?? "")).stdout).toContain("Added a new file\n");
});

it("compares with another image, whose conflicts it would list", async () => {
  symlinkSync("x", at("link"));
  const result = await etcDiff("--new", ids[1] ?? "", "--json");
  expect(JSON.parse(result.stdout)).toMatchObject({ added: expect.arrayContaining(["link"]), conflicts: [] });
});

it("says what is not there", async () => {
  const nobody = await etcDiff("--base", "nobody");
  expect([nobody.status, nobody.stderr]).toEqual([1, expect.stringContaining('there is no deployment "nobody"')]);
  const none = await etcDiff("--base", "none");
  expect([none.status, none.stderr]).toEqual([1, expect.stringContaining("hint: say with --base which one is meant")]);
  expect((await etcDiff("--new", "nobody")).stderr).toContain('there is no deployment "nobody"');
});
