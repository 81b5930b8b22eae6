// `mount.composefs` on the running kernel: the tree of the dump with contents, metadata, xattrs and hard links, changes, digests,
// other ids, refusals, and that nothing stays behind.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { parseDump } from "../fixtures/dump.ts";
import { referenceFsverity } from "../fixtures/fsverity.ts";
import { unmount } from "./libc.ts";
import { leftovers } from "./mounts.ts";
import { describeMounts } from "./privileges.ts";
import { dumpLines, mountLines } from "./tree-lines.ts";

const program = (name: string) => fileURLToPath(new URL(`../../dist/cli/${name}.js`, import.meta.url));

/** A file of the store, and where it is. */
function store(directory: string, content: string): { path: string; digest: string; size: number } {
  const digest = referenceFsverity("sha256", Buffer.from(content));
  const path = `${digest.slice(0, 2)}/${digest.slice(2)}`;
  mkdirSync(join(directory, digest.slice(0, 2)), { recursive: true });
  writeFileSync(join(directory, path), content);
  return { path, digest, size: content.length };
}

describeMounts("mount.composefs", () => {
  let folder: string;
  let place: string;
  let dump: string;
  let digest: string;
  const mounts = () =>
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((line) => line.includes("composefs-mc"));
  const at = (name: string) => join(folder, name);
  const quoted = (path: string) => path.replace(/[\\,]/g, "\\$&");
  const mount = (options: string, words: readonly string[] = [at("tree.img"), place], env = process.env) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [program("mount-composefs"), "-o", options, ...words],
      { encoding: "utf8", env },
    );
    return { status, stdout, stderr };
  };
  const done = { status: 0, stdout: "", stderr: "" };
  const basedir = () => `basedir=${quoted(at("one"))}:${quoted(at("two"))}`;

  beforeAll(() => {
    // Separators of options but no colon, which basedir cannot have.
    folder = mkdtempSync(join(tmpdir(), "composefs-mc,o\\nt-"));
    for (const name of ["one", "two"]) mkdirSync(at(name));
    const first = store(at("one"), "first".repeat(1000));
    const second = store(at("two"), "second".repeat(2000));
    dump = [
      "/ 0 40755 4 0 0 0 5.0 - - - user.root=r",
      "/char 0 20644 1 0 0 261 5.0 - - -",
      "/d 0 42750 2 10 20 0 9.7 - - - trusted.t=\\x00\\xff",
      `/d/again 0 @120000 - - - - 0.0 /first - -`,
      "/d/fifo 0 10600 1 0 0 0 5.0 - - -",
      "/d/sym 9 120777 1 3 4 0 5.0 ../second - -",
      "/e 0 40700 2 0 0 0 5.0 - - -",
      `/first ${first.size} 104755 2 1000 1000 0 5.000 ${first.path} - ${first.digest} user.k=v`,
      "/inline 5 100600 1 70000 70001 0 1700000000.123456789 - hello - security.selinux=label\\x00",
      `/second ${second.size} 100644 1 0 0 0 5.0 ${second.path} - ${second.digest} user.k=v`,
      "",
    ].join("\n");
    execFileSync(
      process.execPath,
      [program("mkcomposefs"), "--from-file", "-", at("tree.img"), "--min-version=1", "--print-digest"],
      { input: dump },
    );
    digest = referenceFsverity("sha256", readFileSync(at("tree.img")));
  });
  beforeEach(() => {
    place = mkdtempSync(join(folder, "place-"));
  });
  afterEach(() => {
    while (mounts().length > 0 && unmount(place) === undefined);
    expect(mounts()).toEqual([]);
    expect(leftovers()).toEqual([]);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith("composefs-mount-"))).toEqual([]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(["koffi", "commands"])(
    "shows the tree from two directories through %s, also when the image is gone",
    (by) => {
      const env = { ...process.env, ...(by === "commands" ? { COMPOSEFS_SYSCALLS: "commands" } : {}) };
      expect(mount(basedir(), [at("tree.img"), place], env)).toEqual(done);
      renameSync(at("tree.img"), at("moved.img"));
      const want = dumpLines(parseDump(Buffer.from(dump)), 1, "sha256");
      expect(want).toHaveLength(10);
      expect(mountLines(place, "sha256")).toEqual(want);
      renameSync(at("moved.img"), at("tree.img"));
      expect(() => writeFileSync(join(place, "new"), "")).toThrow("EROFS");
      expect(mounts()[0]).toMatch(/ ro,.* overlay composefs ro,.*redirect_dir=on.*metacopy=on/);
      expect(unmount(place)).toBeUndefined();
    },
  );

  it("by its name in composefs, with JSON, and as mount(8) calls it", () => {
    const words = [
      "mount.composefs",
      at("tree.img"),
      place,
      "-o",
      `rw,${basedir()}`,
      "-n",
      "-t",
      "composefs",
      "--json",
    ];
    const { status, stdout } = spawnSync(process.execPath, [program("main"), ...words], { encoding: "utf8" });
    expect(status).toBe(0);
    const answer = { image: at("tree.img"), target: place, version: 1, readOnly: true };
    expect(JSON.parse(stdout)).toEqual(answer);
    expect(readFileSync(join(place, "inline"), "utf8")).toBe("hello");
  });

  it("is what diff finds equal to the image, until something changes", () => {
    for (const name of ["diff-upper", "diff-work"]) mkdirSync(at(name));
    const layers = `upperdir=${quoted(at("diff-upper"))},workdir=${quoted(at("diff-work"))}`;
    const diff = (...ignored: string[]) => {
      const words = [program("main"), "diff", at("tree.img"), place, "--quiet", ...ignored];
      const { status, stdout } = spawnSync(process.execPath, words, { encoding: "utf8" });
      return { status, stdout };
    };
    expect(mount(basedir())).toEqual(done);
    expect(diff()).toEqual({ status: 0, stdout: "" });
    expect(unmount(place)).toBeUndefined();
    expect(mount(`${basedir()},${layers}`)).toEqual(done);
    chmodSync(join(place, "inline"), 0o640);
    rmSync(join(place, "e"), { recursive: true });
    // The root is that of the upperdir.
    const changes = "~ /\n    xattr user.root: r -> none\n- /e/\n~ /inline\n    mode: 600 -> 640\n";
    expect(diff("--ignore", "mtime")).toEqual({ status: 1, stdout: changes });
  });

  it("takes changes into the upperdir, unless ro", () => {
    for (const name of ["upper", "work"]) mkdirSync(at(name));
    const layers = `${basedir()},upperdir=${quoted(at("upper"))},workdir=${quoted(at("work"))}`;
    expect(mount(`${layers},rw,ro`)).toEqual(done);
    expect(() => writeFileSync(join(place, "new"), "")).toThrow("EROFS");
    expect(unmount(place)).toBeUndefined();
    expect(mount(layers)).toEqual(done);
    writeFileSync(join(place, "new"), "text");
    writeFileSync(join(place, "first"), "changed");
    rmSync(join(place, "d"), { recursive: true });
    expect(readFileSync(join(place, "second"), "utf8")).toBe("second".repeat(2000));
    expect(unmount(place)).toBeUndefined();
    expect(readdirSync(at("upper")).toSorted()).toEqual(["d", "first", "new"]);
    expect(referenceFsverity("sha256", readFileSync(at("tree.img")))).toBe(digest);
    expect(mount(layers)).toEqual(done);
    expect([readFileSync(join(place, "first"), "utf8"), existsSync(join(place, "d"))]).toEqual(["changed", false]);
  });

  it("takes directories whose names are too long for an option of the kernel", () => {
    const long = join(at("l".repeat(200)), "m".repeat(200));
    mkdirSync(long, { recursive: true });
    execFileSync("cp", ["-a", `${at("one")}/.`, `${at("two")}/.`, long]);
    expect(mount(`basedir=${quoted(long)}`)).toEqual(done);
    expect(readFileSync(join(place, "second"), "utf8")).toBe("second".repeat(2000));
  });

  it("wants the digest from the kernel, or, if asked, hashes the image", () => {
    const wrong = "0".repeat(64);
    const user = mount(`${basedir()},digest=${digest},digestcheck=user`, [at("tree.img"), place, "--json"]);
    expect(JSON.parse(user.stdout)).toMatchObject({ checkedBy: "user space" });
    expect(readFileSync(join(place, "first"), "utf8")).toBe("first".repeat(1000));
    expect(unmount(place)).toBeUndefined();
    for (const [options, message] of [
      [`digest=${wrong},digestcheck=user`, "Image has wrong fs-verity"],
      [`digest=${digest}`, "Image has no fs-verity"],
      ["digest=12", "the digest is neither 64 (sha256) nor 128 (sha512) hex digits"],
      [`digest=${"x".repeat(64)}`, "the digest is neither 64"],
    ] as const) {
      const { status, stdout, stderr } = mount(`${basedir()},${options}`);
      expect([status, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^mount\.composefs: Failed to mount composefs .*\n(hint: .*\n)?$/);
      expect(stderr).toContain(message);
      expect(mounts()).toEqual([]);
    }
  });

  it("with verity refuses objects that have none, not the content of the image", () => {
    expect(mount(`${basedir()},verity`)).toEqual(done);
    expect(readFileSync(join(place, "inline"), "utf8")).toBe("hello");
    // The temporary directory's file system has no fs-verity, or the store's files do not.
    expect(() => readFileSync(join(place, "first"))).toThrow("EIO");
    expect(statSync(join(place, "first")).size).toBe(5000);
  });

  it("shows the ids of another user namespace, or says that it cannot", async () => {
    const holder: ChildProcess = spawn("unshare", ["--user", "sleep", "60"], { stdio: "ignore" });
    try {
      const namespace = `/proc/${holder.pid}/ns/user`;
      const own = statSync("/proc/self/ns/user").ino;
      while (statSync(namespace).ino === own) await new Promise((resolve) => setTimeout(resolve, 20));
      for (const map of ["uid_map", "gid_map"]) writeFileSync(`/proc/${holder.pid}/${map}`, "0 100000 65536");
      const words = [at("tree.img"), place];
      const without = mount(`${basedir()},idmap=${namespace}`, words, {
        ...process.env,
        COMPOSEFS_SYSCALLS: "commands",
      });
      expect([without.status, mounts()]).toEqual([1, []]);
      expect(without.stderr).toContain("hint: install the npm package koffi");
      expect(mount(`${basedir()},idmap=${namespace}`)).toEqual(done);
      const ids = (name: string) => [statSync(join(place, name)).uid, statSync(join(place, name)).gid];
      expect(ids("")).toEqual([100_000, 100_000]);
      expect(ids("first")).toEqual([101_000, 101_000]);
      expect(ids("inline")).toEqual([65_534, 65_534]);
      expect(readFileSync(join(place, "first"), "utf8")).toBe("first".repeat(1000));
    } finally {
      holder.kill("SIGKILL");
    }
  });

  it("refuses with the C tool's words, and leaves nothing", () => {
    writeFileSync(at("text"), "text ".repeat(1000));
    const img = at("tree.img");
    for (const [options, words, message] of [
      ["basedir=/none", [img, place], `Failed to mount composefs ${img}: the directory of objects /none: no such file`],
      [basedir(), [at("none.img"), place], `Failed to open ${at("none.img")}: no such file or directory`],
      [
        basedir(),
        [at("text"), place],
        `Failed to mount composefs ${at("text")}: ${at("text")} is not a composefs image`,
      ],
      [basedir(), [img, at("none")], `the mount point ${at("none")}: no such file or directory`],
      [basedir(), [img, at("text")], `the mount point ${at("text")}: not a directory`],
      [`${basedir()},idmap=/none`, [img, place], "Failed to open userns /none: no such file or directory"],
      [
        `${basedir()},idmap=/proc/self/ns/user`,
        [img, place],
        "the ids of the user namespace /proc/self/ns/user cannot",
      ],
      [`${basedir()},upperdir=/proc,workdir=/proc`, [img, place], "overlay refuses it"],
    ] as const) {
      const { status, stdout, stderr } = mount(options, words);
      expect([status, stdout], stderr).toEqual([1, ""]);
      expect(stderr.split("\n")[0]).toContain(message);
      expect(stderr.split("\n").length).toBeLessThanOrEqual(3);
      expect(stderr).not.toContain("internal error");
      expect(mounts()).toEqual([]);
    }
  });
});
