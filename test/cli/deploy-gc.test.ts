// `deploy gc`, `deploy delete` and `deploy rollback` as users see them: text, JSON, dry runs, and what is refused.

import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { goldensDir } from "../goldens-dir.ts";
import { run, temporaryDirectory } from "./program.ts";

const [one, two] = ["a", "b"].map((digit) => digit.repeat(128)) as [string, string];
const manifest = "sha256:ebe7678d37ff77dd16b5c5b2c66ce404cee3576e636bd2722209ba269658c4c4";
let sysroot: string;
const deploy = (command: string, ...words: string[]) => run(["deploy", command, ...words, "--sysroot", sysroot]);
const entries = () => readdirSync(join(sysroot, "boot/loader/entries")).sort();

beforeEach(async () => {
  sysroot = temporaryDirectory();
  const repo = join(sysroot, "composefs");
  expect((await run(["init", "--insecure", repo])).status).toBe(0);
  const layout = (name: string) => `oci:${join(goldensDir("deploy"), "oci")}:${name}`;
  expect((await run(["--repo", repo, "oci", "pull", layout("host1"), "host1"])).status).toBe(0);
  expect((await run(["--repo", repo, "oci", "pull", layout("app1"), "app"])).status).toBe(0);
  expect((await run(["--repo", repo, "oci", "untag", "host1"])).status).toBe(0);
  mkdirSync(join(sysroot, "boot/loader/entries"), { recursive: true });
  for (const [id, version] of [
    [one, "2"],
    [two, "1"],
  ] as const) {
    const state = join(sysroot, "state/deploy", id);
    const kernels = join(sysroot, `boot/bootc_composefs-${id}`);
    for (const directory of [state, kernels]) mkdirSync(directory, { recursive: true });
    writeFileSync(join(kernels, "vmlinuz"), "kernel");
    writeFileSync(
      join(sysroot, `boot/loader/entries/bootc_os-${version}-1.conf`),
      `version ${version}\nlinux /bootc_composefs-${id}/vmlinuz\noptions composefs=?${id}\n`,
    );
    if (id === two)
      writeFileSync(join(state, `${id}.origin`), `[boot]\nboot_type = bls\n[image]\nmanifest_digest = ${manifest}\n`);
  }
});

it("a collection says what it does, does it, and has nothing left to do", async () => {
  mkdirSync(join(sysroot, "state/deploy/left"));
  mkdirSync(join(sysroot, "boot/bootc_composefs-old"));
  const lines = `tag localhost/bootc-${manifest}: a deployment needs the image, and nothing in the repository says so
remove bootc_composefs-old: no boot entry names them
remove the state directory left: no boot entry boots it
`;
  const dry = await deploy("gc", "--dry-run");
  expect(dry.stdout).toContain(`Dry run (nothing is changed):\n${lines}Objects: 0 removed (0 bytes)\n`);
  expect(dry.stderr).toBe(
    `warning: ${one}: the origin file is missing (W_NO_ORIGIN)\nwarning: ${one}: no image in the repository is known to be its own (W_NO_MANIFEST)\n`,
  );
  expect(readdirSync(join(sysroot, "state/deploy"))).toContain("left");
  const unclean = await deploy("gc", "--assert-no-op", "--json");
  expect(unclean.status).toBe(1);
  expect(JSON.parse(unclean.stdout)).toMatchObject({ dryRun: true, removeStateDirs: ["left"], objectsRemoved: 0 });
  expect(unclean.stderr).toContain("would change 3 things");
  const done = await deploy("gc");
  expect(done).toMatchObject({ status: 0, stdout: `${lines}Objects: 0 removed (0 bytes)\n` });
  expect(await deploy("gc", "--assert-no-op", "--quiet")).toMatchObject({ status: 0, stderr: "" });
  expect(JSON.parse((await deploy("gc", "--boot-files-only", "--json")).stdout)).toMatchObject({
    dryRun: false,
    removeStateDirs: [],
    imagesPruned: 0,
  });
});

it("without any entry everything would go: refused unless it is said", async () => {
  for (const name of entries()) writeFileSync(join(sysroot, "boot/loader/entries", name), "title broken\n");
  const refused = await deploy("gc", "--json");
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain("every deployment would be removed");
  expect((await deploy("gc", "--allow-empty", "--dry-run")).stdout).toContain(`state directory ${one}`);
});

it("a deletion removes a deployment and what only it needs, and keeps the images of others", async () => {
  const dry = await deploy("delete", two, "--dry-run");
  expect(dry.stdout).toBe(
    "Dry run (nothing is changed):\nremove the boot entry bootc_os-1-1.conf\nthen as deploy gc\n",
  );
  expect(entries().length).toBe(2);
  const { status, stdout } = await deploy("delete", two);
  expect([status, stdout.split("\n", 1)[0]]).toEqual([0, `Deleted ${two}`]);
  expect(stdout).toContain("Pruned symlinks: 1 images, ");
  expect(entries()).toEqual(["bootc_os-2-1.conf"]);
  expect((await run(["--repo", join(sysroot, "composefs"), "fsck"])).status).toBe(0);
  expect(
    JSON.parse((await run(["--repo", join(sysroot, "composefs"), "oci", "images", "--json"])).stdout),
  ).toMatchObject({ images: [{ name: "app" }] });
  expect((await deploy("delete", two)).stderr).toContain("there is no deployment");
  expect((await deploy("delete", one)).stderr).toContain("is the only deployment that can boot");
  const forced = await deploy("delete", one, "--force", "--json");
  expect(JSON.parse(forced.stdout)).toMatchObject({ id: one, gc: { removeStateDirs: [one] } });
  expect(readdirSync(join(sysroot, "boot"))).toEqual(["loader"]);
});

it("a rollback changes the order of the menu", async () => {
  const first = async () =>
    JSON.parse((await deploy("status", "--json", "--quiet")).stdout).status.otherDeployments[0].composefs.verity;
  writeFileSync(join(sysroot, "state/deploy", one, `${one}.origin`), "[boot]\nboot_type = bls\n");
  expect(await first()).toBe(one);
  expect((await deploy("rollback")).stderr).toContain("--to");
  const dry = await deploy("rollback", "--to", two, "--dry-run", "--json");
  expect(JSON.parse(dry.stdout)).toEqual({
    dryRun: true,
    order: [two, one],
    reverting: false,
    dropStaged: false,
    nextBoot: "rollback",
  });
  expect(await first()).toBe(one);
  expect(await deploy("rollback", "--to", two)).toMatchObject({
    status: 0,
    stdout: "Next boot: rollback deployment\n",
  });
  expect(await first()).toBe(two);
});
