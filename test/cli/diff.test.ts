// `composefs diff`: every kind of tree with every other, its output and exit statuses.

import { mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EXAMPLE, MKCOMPOSEFS, run, temporaryDirectory } from "./program.ts";

const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const repo = at("repo");
const diff = async (...words: string[]) => run(["diff", ...words], { cwd: directory });
const good = async (words: string[]) => {
  const { status, stdout, stderr } = await run(words, { cwd: directory });
  expect({ words, status, stderr: status === 0 ? "" : stderr }).toEqual({ words, status: 0, stderr: "" });
  return stdout;
};

beforeAll(async () => {
  await good(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repo]);
  await good(["--repo", repo, "oci", "pull", "--platform", "linux/amd64", `oci:${EXAMPLE}:v1`, "os:v1", "--quiet"]);
  writeFileSync(at("os.dump"), await good(["--repo", repo, "oci", "dump", "os:v1"]));
  await run(["--from-file", "os.dump", "os.img", "--min-version=1"], { program: MKCOMPOSEFS, cwd: directory });
  const { composefs_erofs: id } = JSON.parse(await good(["--repo", repo, "oci", "inspect", "os:v1"])) as {
    composefs_erofs: string;
  };
  writeFileSync(at("id"), id);
  mkdirSync(at("tree/sub"), { recursive: true });
  writeFileSync(at("tree/file"), "x".repeat(100));
  writeFileSync(at("tree/small"), "small");
  symlinkSync("file", at("tree/link"));
  for (const name of ["tree/file", "tree/small", "tree/sub", "tree"]) utimesSync(at(name), 1000, 1000);
  for (const hash of ["sha256", "sha512"])
    writeFileSync(
      at(`tree.${hash}.dump`),
      await good(["create-dumpfile", "--no-propagate-usr-to-root", "--hash", hash, "tree"]),
    );
});

describe("composefs diff", () => {
  it("finds no difference between one tree in its forms", async () => {
    const forms = ["os.dump", "os.img", "os:v1", readFileSync(at("id"), "utf8")];
    for (const [i, a] of forms.entries()) {
      for (const b of forms.slice(i))
        expect(await diff("--repo", repo, a, b)).toEqual({ status: 0, stdout: "", stderr: "" });
    }
  });

  it("takes the hash of directories from the other side", async () => {
    for (const dump of ["tree.sha256.dump", "tree.sha512.dump"]) {
      expect(await diff("--quiet", "tree", dump)).toEqual({ status: 0, stdout: "", stderr: "" });
      expect(await diff("--quiet", dump, "tree")).toEqual({ status: 0, stdout: "", stderr: "" });
    }
    expect((await diff("--quiet", "tree", "tree")).status).toBe(0);
    const { status, stdout } = await diff("--quiet", "tree.sha256.dump", "tree.sha512.dump");
    expect([status, stdout.split("\n")[0]]).toEqual([1, "~ /file"]);
  });

  it("prints what differs", async () => {
    const dump = readFileSync(at("tree.sha256.dump"), "utf8")
      .replace(/^\/file (\S+) 100644/m, "/file $1 100755")
      .replace(/^\/small.*\n/m, "")
      .replace("- - -\n/", "- - - user.a=b\n/");
    writeFileSync(at("changed.dump"), `${dump}/z 0 40700 2 0 0 0 0.0 - - -\n`);
    const { status, stdout, stderr } = await diff("tree.sha256.dump", "changed.dump");
    expect({ status, stdout, stderr }).toEqual({
      status: 1,
      stdout: "~ /\n    xattr user.a: none -> b\n~ /file\n    mode: 644 -> 755\n- /small\n+ /z/\n",
      stderr: "1 added, 1 removed, 2 changed\n",
    });
    const ignoring = await diff("tree.sha256.dump", "changed.dump", "--ignore", "mode", "--ignore=xattr", "-q");
    expect(ignoring).toEqual({ status: 1, stdout: "- /small\n+ /z/\n", stderr: "" });
    const json = await diff("--json", "tree.sha256.dump", "changed.dump");
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toEqual({
      a: { name: "tree.sha256.dump", source: "dump" },
      b: { name: "changed.dump", source: "dump" },
      equal: false,
      added: 1,
      removed: 1,
      changed: 2,
      entries: [
        {
          change: "changed",
          path: "/",
          type: "directory",
          fields: [{ field: "xattr", xattr: "user.a", a: null, b: "b" }],
        },
        { change: "changed", path: "/file", type: "file", fields: [{ field: "mode", a: "644", b: "755" }] },
        { change: "removed", path: "/small", type: "file", fields: [] },
        { change: "added", path: "/z", type: "directory", fields: [] },
      ],
    });
    const equal = await diff("--json", "changed.dump", "changed.dump");
    expect([equal.status, JSON.parse(equal.stdout)]).toMatchObject([0, { equal: true, entries: [] }]);
  });

  it("ends with 2 on trouble, whatever it is", async () => {
    writeFileSync(at("text"), "some text\n");
    const lines = ["/ 0 40755 2 0 0 0 0.0 - - -"];
    for (let i = 2; i <= 70_000; i++) lines.push(`/f${i} 0 100644 1 0 0 0 0.0 - - -`);
    lines.push("/bad 0 100644 1 0 0 0 never - - -", "/g 0 100644 1 0 0 0 0.0 - - -", "");
    writeFileSync(at("bad.dump"), lines.join("\n"));
    writeFileSync(at("cut.img"), readFileSync(at("os.img")).subarray(0, 8192));
    for (const [words, message] of [
      [["text", "os.img"], "text is neither a composefs image nor a dump"],
      [["os.img", "bad.dump"], "bad.dump: line 70001, MTIME, /bad: expected seconds, a dot and nanoseconds"],
      [["cut.img", "os.img"], "cut.img: not a valid composefs image: "],
      [["none", "os.img"], "none does not exist, and there is no repository"],
      [["--repo", repo, "none", "os.img"], `none is neither a path nor an image or tag of ${repo}`],
      [["os.img"], "diff: B is missing"],
      [["os.img", "os.img", "--ignore", "time"], 'option --ignore does not know "time"'],
      [["--repo", at("tree"), "os.img", "os:v1"], "os:v1 does not exist, and there is no repository"],
    ] as const) {
      const { status, stdout, stderr } = await diff(...words);
      expect({ words, status, stdout }).toEqual({ words, status: 2, stdout: "" });
      expect(stderr.split("\n")[0]).toContain(`composefs: ${message}`);
    }
  });
});
