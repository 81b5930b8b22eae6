// /etc and /var of a new deployment: what is copied, with which metadata, and that the merge compares what was written.

import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type InstallOptions, installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot } from "../../src/deploy/location.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { scanCalls } from "../../src/runtime/scan-calls.ts";
import type { TarEntry } from "../fixtures/tar.ts";
import { type HostImageParts, hostLayout } from "./host-images.ts";

const isRoot = process.getuid?.() === 0;

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-seed-"));
  for (const name of ["sysroot", "esp"]) mkdirSync(join(root, name));
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

const at = (path: string) => join(root, "sysroot", path);
const paths = () => ({ sysroot: at(""), esp: join(root, "esp"), bootloader: "systemd", offline: true }) as const;
const layout = (parts: HostImageParts) => hostLayout(join(root, "image"), parts);

async function install(options: InstallOptions = {}): Promise<string> {
  const image = { transport: "oci", image: join(root, "image") } as const;
  return (await installDeployment(paths(), image, { verity: "allow-missing", ...options })).id ?? "";
}

async function upgrade(options: Parameters<typeof upgradeDeployment>[1] = {}) {
  await using sysroot = await OpenSysroot.open(locateSysroot(paths()));
  return await upgradeDeployment(sysroot, options);
}

function xattrsOf(path: string): Record<string, string> {
  const scan = scanCalls();
  const fd = scan.openRoot(join(path, ".."));
  const node = scan.openPath(fd, path.slice(path.lastIndexOf("/") + 1));
  const flat = scan.xattrs(node, true);
  scan.close(node);
  scan.close(fd);
  return Object.fromEntries(flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? ""]] : [])));
}

const odd: readonly TarEntry[] = [
  { path: "etc/tool", content: Buffer.from("tool"), mode: 0o4755, uid: 7, gid: 8, mtime: 1234567 },
  { path: "etc/tool2", type: "hardlink", target: "etc/tool" },
  { path: "etc/resolv.conf", type: "symlink", target: "../run/nowhere/resolv.conf", uid: 7 },
  { path: "etc/pipe", type: "fifo" },
  { path: "etc/null", type: "char", device: [1, 3] },
  { path: "etc/.updated", content: Buffer.from("x") },
  { path: "etc/closed", type: "directory", mode: 0o700, uid: 9, gid: 9, mtime: 7654321 },
  { path: "etc/closed/big", content: Buffer.alloc(300_000, "b"), mode: 0o400 },
  { path: "etc/closed/empty", content: Buffer.alloc(0) },
  {
    path: "etc/capable",
    content: Buffer.from("c"),
    xattrs: { "security.capability": Buffer.from("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "latin1") },
  },
  { path: "etc/na\u00efve", content: Buffer.from("n") },
];

test("types, modes, links and times are those of the image; pipes and devices are left out", async () => {
  layout({ version: "1", more: odd });
  const etc = at(`state/deploy/${await install()}/etc`);
  const tool = statSync(join(etc, "tool"));
  expect(tool).toMatchObject({ nlink: 2, ino: statSync(join(etc, "tool2")).ino, mtimeMs: 1234567_000 });
  expect(tool.mode & 0o7777).toBe(0o4755);
  expect(readlinkSync(join(etc, "resolv.conf"))).toBe("../run/nowhere/resolv.conf");
  for (const name of ["pipe", "null", ".updated"])
    expect(lstatSync(join(etc, name), { throwIfNoEntry: false }), name).toBeUndefined();
  const closed = statSync(join(etc, "closed"));
  expect([closed.mode & 0o7777, closed.mtimeMs]).toEqual([0o700, 7654321_000]);
  expect(readFileSync(join(etc, "closed/big")).equals(Buffer.alloc(300_000, "b"))).toBe(true);
  expect(readFileSync(join(etc, "closed/empty")).length).toBe(0);
  expect(readFileSync(join(etc, "na\u00efve"), "utf8")).toBe("n");
  expect(readlinkSync(join(etc, "../var"))).toBe("../../os/default/var");
  if (!isRoot) return;
  expect([tool.uid, tool.gid, closed.uid, lstatSync(join(etc, "resolv.conf")).uid]).toEqual([7, 8, 9, 7]);
  expect(Object.keys(xattrsOf(join(etc, "capable")))).toContain("security.capability");
});

describe("without owners and attributes", () => {
  test("an upgrade reaches every file that was not changed, and keeps what was", async () => {
    const options = { owner: "ignore", xattrs: "none" } as const;
    const owned: readonly TarEntry[] = odd.filter(({ path }) => !path.endsWith("tool2"));
    layout({ version: "1", etc: { "a.conf": "1\n", "b.conf": "1\n" }, more: owned });
    const first = at(`state/deploy/${await install(options)}/etc`);
    const self = process.getuid?.();
    expect(readdirSync(first).map((name) => lstatSync(join(first, name)).uid)).toEqual(
      readdirSync(first).map(() => self),
    );
    expect(xattrsOf(join(first, "capable"))).toEqual({});
    writeFileSync(join(first, "b.conf"), "mine\n");
    const changed = owned.map((entry) =>
      entry.path === "etc/tool" ? { ...entry, content: Buffer.from("new tool") } : entry,
    );
    layout({ version: "2", etc: { "a.conf": "2\n", "b.conf": "2\n" }, more: changed });
    const { id, staged } = await upgrade(options);
    expect(staged?.merge).toMatchObject({ added: [], modified: ["b.conf"], removed: [] });
    const second = at(`state/deploy/${id}/etc`);
    const text = (name: string) => readFileSync(join(second, name), "utf8");
    expect([text("a.conf"), text("b.conf"), text("tool")]).toEqual(["2\n", "mine\n", "new tool"]);
  });

  // Deno asks for rights as the user that it was started by, and a thread, as files are on Bun, cannot become another user.
  const isNode = process.versions["deno"] === undefined && process.versions["bun"] === undefined;
  test.runIf(isRoot && isNode)("and as a user without any rights", async () => {
    layout({ version: "1", more: [{ path: "etc/a.conf", content: Buffer.from("1"), uid: 7, mode: 0o600 }] });
    execFileSync("chown", ["-R", "65534:65534", root]);
    chmodSync(root, 0o755);
    const before = process.geteuid?.() ?? 0;
    process.setegid?.(65534);
    process.seteuid?.(65534);
    try {
      const first = await install({ owner: "ignore", xattrs: "user" });
      expect(statSync(at(`state/deploy/${first}/etc/a.conf`)).uid).toBe(65534);
      hostLayout(join(root, "image"), {
        version: "2",
        more: [{ path: "etc/a.conf", content: Buffer.from("2"), uid: 7, mode: 0o600 }],
      });
      const { id } = await upgrade({ owner: "ignore", xattrs: "user" });
      expect(readFileSync(at(`state/deploy/${id}/etc/a.conf`), "utf8")).toBe("2");
    } finally {
      process.seteuid?.(before);
      process.setegid?.(0);
    }
  });
});

describe("/var", () => {
  test("is filled when it is new or empty, and left alone otherwise", async () => {
    layout({ version: "1" });
    await install();
    expect(readFileSync(at("state/os/default/var/lib/seed"), "utf8")).toBe("1\n");
    layout({ version: "2" });
    await upgrade();
    expect(readFileSync(at("state/os/default/var/lib/seed"), "utf8")).toBe("1\n");
  });

  test("of another stateroot is that of every later deployment, too", async () => {
    layout({ version: "1" });
    const image = { transport: "oci", image: join(root, "image") } as const;
    await installDeployment({ ...paths(), stateroot: "mine" }, image, { verity: "allow-missing" });
    layout({ version: "2" });
    const { id } = await upgrade();
    expect(readlinkSync(at(`state/deploy/${id}/var`))).toBe("../../os/mine/var");
    expect(readdirSync(at("state/os"))).toEqual(["mine"]);
  });

  test("what a cut run left of it is no /var", async () => {
    mkdirSync(at("state/os/default/.composefs-var/lib"), { recursive: true });
    mkdirSync(at("state/os/default/var"));
    layout({ version: "1" });
    await install();
    expect(readdirSync(at("state/os/default"))).toEqual(["var"]);
    expect(readFileSync(at("state/os/default/var/lib/seed"), "utf8")).toBe("1\n");
  });

  test("a symlink in its place is not followed", async () => {
    mkdirSync(at("state/os/default"), { recursive: true });
    mkdirSync(join(root, "elsewhere"));
    symlinkSync(join(root, "elsewhere"), at("state/os/default/var"));
    layout({ version: "1" });
    await install();
    expect(readdirSync(join(root, "elsewhere"))).toEqual([]);
  });
});

test("a state directory that a cut run left is replaced, and its var is only a link", async () => {
  layout({ version: "1" });
  const id = await install();
  rmSync(join(root, "esp"), { recursive: true });
  mkdirSync(join(root, "esp"));
  const old = at(`state/deploy/${id}/etc/old`);
  writeFileSync(old, "old");
  linkSync(old, join(root, "kept"));
  rmSync(join(at(`state/deploy/${id}`), `${id}.origin`));
  expect(await install()).toBe(id);
  expect(existsSync(old)).toBe(false);
  expect(readFileSync(at("state/os/default/var/lib/seed"), "utf8")).toBe("1\n");
});
