// `mount` and `oci mount` on the running kernel: contents, changes, refusals, and that nothing stays behind.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COMPOSEFS_MAIN, composefs, composefsBytes, composefsOutput } from "../fixtures/composefs.ts";
import { parseDump } from "../fixtures/dump.ts";
import { goldensDir } from "../goldens-dir.ts";
import { unmount } from "./libc.ts";
import { leftovers } from "./mounts.ts";
import { describeMounts } from "./privileges.ts";
import { dumpLines, mountLines } from "./tree-lines.ts";

interface GoldenImage {
  layout: string;
  tag: string;
  is_container: boolean;
  image_ids?: object;
}

describeMounts("mounting", () => {
  let folder: string;
  let repo: string;
  let id: string;
  let place: string;
  let dump: Buffer;
  const table = () => readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const mountsBelow = (path: string) => table().filter((line) => line.includes(path));
  const mount = (...words: string[]) => composefs(["--repo", repo, "mount", ...words]);
  const temporaries = () => readdirSync(tmpdir()).filter((name) => name.startsWith("composefs-mount-"));

  beforeAll(() => {
    // A name with everything that mount options separate by.
    folder = mkdtempSync(join(tmpdir(), "composefs-m:o,u\\nt-"));
    const goldens = goldensDir("oci");
    const { images } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as { images: GoldenImage[] };
    const image = images.find((each) => each.is_container && each.image_ids !== undefined) as GoldenImage;
    repo = join(folder, "repo");
    composefsOutput(["init", "--insecure", "--algorithm", "fsverity-sha256-12", repo]);
    // The layout's path must not contain a colon.
    const layout = mkdtempSync(join(tmpdir(), "composefs-layout-"));
    execFileSync("tar", ["-xf", join(goldens, image.layout), "-C", layout]);
    composefsOutput(["--repo", repo, "oci", "pull", `oci:${layout}:${image.tag}`, "it", "--quiet"]);
    rmSync(layout, { recursive: true });
    ({ composefs_erofs: id } = JSON.parse(composefsOutput(["--repo", repo, "oci", "inspect", "it"])) as {
      composefs_erofs: string;
    });
    dump = composefsBytes(["--repo", repo, "oci", "dump", "it"]);
  });
  beforeEach(() => {
    place = mkdtempSync(join(folder, "place-"));
  });
  afterEach(() => {
    while (mountsBelow(folder.slice(-6)).length > 0 && unmount(place) === undefined);
    expect(mountsBelow("composefs-m")).toEqual([]);
    expect(leftovers()).toEqual([]);
    expect(temporaries()).toEqual([]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each(["koffi", "commands"])("through %s", (provider) => {
    const env = { ...process.env, ...(provider === "commands" ? { COMPOSEFS_SYSCALLS: "commands" } : {}) };
    const run = (...words: string[]) =>
      spawnSync(process.execPath, [COMPOSEFS_MAIN, "--repo", repo, ...words], { encoding: "utf8", env });

    it("shows the tree, content included, and says nothing", () => {
      for (const words of [
        ["mount", id],
        ["mount", `sha256:${id}`],
        ["oci", "mount", "it"],
      ]) {
        const { status, stdout, stderr } = run(...words, place);
        expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
        expect(mountLines(place, "sha256")).toEqual(dumpLines(parseDump(dump), 1, "sha256"));
        const [line = "", ...others] = mountsBelow(`composefs:${id}`);
        expect(others).toEqual([]);
        expect(line).toMatch(/ overlay composefs:[0-9a-f]{64} ro,.*redirect_dir=on.*metacopy=on/);
        expect(() => writeFileSync(join(place, "new"), "")).toThrow("EROFS");
        expect(unmount(place)).toBeUndefined();
      }
    });

    it("takes changes in the upper layer, and only there", () => {
      const [upper, work] = ["upper", "work"].map((name) => join(place, `../${name}-${provider}`)) as [string, string];
      for (const path of [upper, work]) mkdirSync(path);
      const layers = ["--upperdir", upper, "--workdir", work];
      expect(run("oci", "mount", "it", place, ...layers).status).toBe(0);
      expect(() => writeFileSync(join(place, "new"), "")).toThrow("EROFS");
      expect(unmount(place)).toBeUndefined();
      const written = run("oci", "mount", "it", place, ...layers, "--read-write");
      expect([written.status, written.stderr]).toEqual([0, ""]);
      writeFileSync(join(place, "new"), "text");
      rmSync(join(place, "usr"), { recursive: true });
      expect(unmount(place)).toBeUndefined();
      expect(readFileSync(join(upper, "new"), "utf8")).toBe("text");
      expect(composefs(["--repo", repo, "fsck"]).status).toBe(0);
    });
  });

  it("refuses what cannot be mounted, each with its reason, and leaves nothing", () => {
    for (const [words, status, message] of [
      [["mount", "none", place], 1, "image not found: none"],
      [["mount", id, join(place, "none")], 1, "does not exist"],
      [["mount", id, join(repo, "meta.json")], 1, "is not a directory"],
      [["oci", "mount", "other", place], 1, "other"],
      [["oci", "mount", "it", place, "--bootable"], 1, "no boot image"],
      [["mount", id, place, "--read-write"], 2, "--read-write needs --upperdir"],
      [["mount", id, place, "--upperdir", place], 2, "--upperdir and --workdir need each other"],
      [["mount", id, place, "--require-verity"], 1, "does not require fs-verity"],
      [["mount", id, place, "--upperdir", "/proc", "--workdir", "/proc"], 1, "overlay refuses it"],
    ] as const) {
      const refused = composefs(["--repo", repo, ...words]);
      expect([refused.status, refused.stdout], refused.stderr).toEqual([status, ""]);
      expect(refused.stderr.split("\n")[0]).toContain(message);
      expect(refused.stderr).not.toContain("internal error");
      expect(mountsBelow("composefs:")).toEqual([]);
    }
  });

  it("verifies the image first", () => {
    const copy = join(folder, "damaged");
    execFileSync("cp", ["-a", repo, copy]);
    const object = join(copy, "objects", id.slice(0, 2), id.slice(2));
    const bytes = readFileSync(object);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
    rmSync(object);
    writeFileSync(object, bytes);
    const { status, stderr } = composefs(["--repo", copy, "mount", id, place]);
    expect(status).toBe(1);
    expect(stderr).toContain(id.slice(0, 12));
    expect(readdirSync(place)).toEqual([]);
  });

  it("says that it hides another mount", () => {
    expect(mount(id, place).stderr).toBe("");
    const second = composefs(["--repo", repo, "mount", id, place, "--json"]);
    expect(JSON.parse(second.stdout)).toEqual({ id, target: place, verity: false, stacked: true });
    expect(second.stderr).toContain("it is hidden now");
    expect(unmount(place)).toBeUndefined();
    expect(unmount(place)).toBeUndefined();
    expect(readdirSync(place)).toEqual([]);
  });

  it("without privileges says what is needed", () => {
    expect(existsSync("/usr/bin/setpriv")).toBe(true);
    const { status, stderr } = spawnSync(
      "setpriv",
      [
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
        process.execPath,
        COMPOSEFS_MAIN,
        "--repo",
        repo,
        "mount",
        id,
        place,
      ],
      { encoding: "utf8" },
    );
    expect(stderr).toMatch(/erofs refuses it.*\nhint: mounting needs root/);
    expect(status).toBe(1);
  });
});
