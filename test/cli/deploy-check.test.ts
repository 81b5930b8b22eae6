// `deploy check` and `deploy export` as users see them.

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { type CompleteDeployment, completeSysroot } from "../deploy/complete-sysroot.ts";
import { run, temporaryDirectory } from "./program.ts";

const sysroot = temporaryDirectory();
const work = temporaryDirectory();
let deployment: CompleteDeployment;
beforeAll(async () => {
  [deployment] = (await completeSysroot(sysroot, ["host1"])) as [CompleteDeployment];
});

const deploy = (command: string, ...words: string[]) => run(["deploy", command, "--sysroot", sysroot, ...words]);

it("exports a deployment, the booted one, and any image of its repository", async () => {
  const { id, manifest, name } = deployment;
  const target = (file: string) => `oci:${join(work, file)}:v1`;
  const byId = await deploy("export", id, "--to", target("a"), "--json");
  expect([byId.status, byId.stderr]).toEqual([0, expect.stringMatching(/^layer 1 of 2 /)]);
  const booted = await deploy("export", "--booted", id, "--to", target("b"));
  expect(booted.stdout).toBe(`${(JSON.parse(byId.stdout) as { manifest: string }).manifest}\n`);
  expect((await deploy("export", name, "--to", target("c"))).stdout).toBe(booted.stdout);
  expect((await deploy("export", `@${manifest}`, "--to", `oci-archive:${join(work, "d.tar")}`)).status).toBe(0);
  expect(existsSync(join(work, "d.tar"))).toBe(true);
});

it("says what cannot be exported", async () => {
  const nobody = await deploy("export", "0".repeat(128), "--to", `oci:${work}/x`);
  expect([nobody.status, nobody.stderr]).toEqual([1, expect.stringContaining("there is no deployment")]);
  const offline = await deploy("export", "--to", `oci:${work}/x`);
  expect([offline.status, offline.stderr]).toEqual([1, expect.stringContaining("nothing is booted here")]);
  expect((await deploy("export")).status).toBe(2);
  const storage = await deploy("export", "--to", "containers-storage:localhost/bootc");
  expect([storage.status, storage.stderr]).toEqual([2, expect.stringContaining("hint: export it to oci-archive:FILE")]);
});

it("checks a sysroot; an error is exit status 1", async () => {
  const good = await deploy("check", "--deep");
  expect(good).toEqual({ status: 0, stdout: "info C12: the repository is whole\nstatus: ok\n", stderr: "" });
  rmSync(join(sysroot, `boot/bootc_composefs-${deployment.id}/initrd`));
  const bad = await deploy("check");
  const path = `/boot/bootc_composefs-${deployment.id}/initrd`;
  expect(bad.stdout).toContain(`error C2: ${deployment.id}, ${join(sysroot, path)}: ${path}, which the entry`);
  expect(bad.stdout).toContain("status: 1 error(s)\n");
  expect([bad.status, bad.stderr]).toEqual([1, expect.stringContaining("are damaged\nhint: ")]);
  const { status, stdout } = await deploy("check", "--json");
  expect([status, JSON.parse(stdout)]).toMatchObject([1, { ok: false, errors: 1, findings: [{ check: "C2" }, {}] }]);
});
