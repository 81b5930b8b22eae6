// Words of `mount.composefs`: options as the C tool takes them, and its refusals.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parseMount } from "../../src/cli/mount-composefs-options.ts";
import { run } from "./program.ts";

const program = fileURLToPath(new URL("../../dist/cli/mount-composefs.js", import.meta.url));
const options = (text: string) => parseMount(["-o", text, "i", "m"]).options;

describe("mount.composefs", () => {
  it("splits options, with backslashes that quote", () => {
    expect(options("basedir=/a:/b")).toEqual({
      objects: ["/a", "/b"],
      checkInUserSpace: false,
      verity: false,
      readOnly: false,
    });
    expect(options("basedir=/a\\,b\\\\c=d").objects).toEqual(["/a,b\\c=d"]);
    expect(options("basedir=/a,basedir=/b,,ro,rw").objects).toEqual(["/b"]);
    expect(options("basedir=/a,ro,rw").readOnly).toBe(false);
    expect(options("basedir=/a,rw,ro").readOnly).toBe(true);
    expect(options("basedir=/a,tryverity").verity).toBe("if-possible");
    expect(options("basedir=/a,tryverity,verity").verity).toBe(true);
    expect(options("basedir=/a,verity=x").verity).toBe(true);
    expect(options("basedir=/a,digest=ab,digestcheck=user")).toMatchObject({ digest: "ab", checkInUserSpace: true });
    expect(options("basedir=/a,upperdir=/u,workdir=/w,idmap=/n")).toMatchObject({
      upperdir: "/u",
      workdir: "/w",
      userNamespace: "/n",
    });
  });

  it("takes words in any order, as mount(8) writes them", () => {
    const parsed = parseMount(["image", "place", "-s", "-o", "rw,basedir=/a", "-t", "composefs", "-overity"]);
    expect(parsed).toMatchObject({ image: "image", target: "place", json: false, fake: false });
    expect(parsed.options).toMatchObject({ objects: ["/a"], verity: true });
    expect(parseMount(["-f", "-o", "basedir=/a", "--json", "--", "-i", "-m"])).toMatchObject({
      image: "-i",
      target: "-m",
      json: true,
      fake: true,
    });
  });

  it.each([
    [[], "No source path specified"],
    [["i"], "No mount path specified"],
    [["i", "m", "n"], "Too many arguments"],
    [["i", "m"], "No object dirs specified"],
    [["i", "m", "-t", "ext4"], "Unsupported fs type 'ext4'"],
    [["i", "m", "-o"], "option -o needs a value"],
    [["i", "m", "-x"], "unknown option -x"],
    [["i", "m", "-o", "basedir=a:"], "Value for basedir option has incorrect format"],
    [["i", "m", "-o", "basedir="], "Value for basedir option has incorrect format"],
    [["i", "m", "-o", "basedir"], "No value specified for basedir option"],
    [["i", "m", "-o", "basedir=a,signed"], "Unsupported option signed"],
    [["i", "m", "-o", "basedir=a,upperdir=u"], "Both workdir and upperdir must be specified if used"],
    [["i", "m", "-o", "basedir=a,digestcheck=no"], "Invalid digestcheck no"],
  ])("refuses %j", async (words, message) => {
    const { status, stdout, stderr } = await run(words, { program });
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(`mount.composefs: ${message}`);
  });

  it("has help and a version, under both names", async () => {
    for (const word of ["-h", "--help"]) {
      expect((await run([word], { program })).stdout).toMatch(/^Usage: mount\.composefs [^]*Examples:/);
      expect((await run(["mount.composefs", word])).stdout).toMatch(/^Usage: mount\.composefs /);
    }
    expect((await run(["--version"], { program })).stdout).toMatch(/^mount\.composefs \d+\./);
  });
});
