// A sysroot with a container storage of its own (docs/spec/deployments.md, section 7): images come through podman from a real registry,
// their files are there once, the image of the system can be run, and collections leave both sides consistent.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";

import { deployGc } from "../../src/deploy/collect.ts";
import { deleteDeployment } from "../../src/deploy/delete-deployment.ts";
import { installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot } from "../../src/deploy/location.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { ownedImages, ownedStorageRoot } from "../../src/deploy/unified/owned-storage.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { Repository } from "../../src/repository/repository.ts";
import { hostLayout } from "../deploy/host-images.ts";
import { describeWithPeers, peer, runPeer } from "../peer.ts";

const isRoot = process.getuid?.() === 0;
const KERNEL = "7".repeat(400);
const registry = { tlsVerify: false };
/** Btrfs and XFS, where the files are two that share their blocks. Elsewhere they are one. */
const SHARES_BLOCKS: ReadonlySet<number> = new Set([0x9123683e, 0x58465342]);

describeWithPeers(["podman", "skopeo", "docker-registry"], "unified storage", () => {
  if (!isRoot) {
    it.skip("skipped: run as root, who can write and mount container stores", () => {});
    return;
  }
  let work: string;
  let server: ChildProcess;
  let name: string;
  let first: string;
  const paths = () => ({ sysroot: join(work, "sysroot"), bootloader: "grub" as const });
  const digests: string[] = [];

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), "composefs-unified-"));
    mkdirSync(join(work, "sysroot/boot"), { recursive: true });
    const socket = createServer();
    await new Promise<void>((resolve) => socket.listen(0, "127.0.0.1", resolve));
    const { port } = socket.address() as AddressInfo;
    await new Promise((resolve) => socket.close(resolve));
    name = `127.0.0.1:${port}/p/os:1`;
    const config = ["version: 0.1", "storage:", `  filesystem: {rootdirectory: ${work}/registry}`, "http:"];
    writeFileSync(join(work, "config.yml"), [...config, `  addr: 127.0.0.1:${port}`, ""].join("\n"));
    server = spawn(peer("docker-registry"), ["serve", join(work, "config.yml")], { stdio: "ignore" });
    for (let tries = 0; tries < 100; tries++) {
      if (await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined)) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  afterAll(() => {
    server?.kill();
    podman("rm", "--all", "--force");
    rmSync(work, { recursive: true, force: true });
  });

  /** Puts an image where the reference leads to. */
  function push(version: string): string {
    const layout = join(work, `layout-${version}`);
    hostLayout(layout, {
      version,
      kernel: KERNEL,
      more: [
        { path: "usr/bin/", type: "directory" },
        { path: "usr/bin/busybox", mode: 0o755, content: readFileSync("/usr/bin/busybox") },
        { path: "usr/big", content: Buffer.alloc(3_000_000, version) },
        { path: "usr/share/", type: "directory" },
        { path: "usr/share/app.image", content: Buffer.from("[Image]\nImage=localhost/bound\n") },
        { path: "usr/lib/bootc/bound-images.d/", type: "directory" },
        { path: "usr/lib/bootc/bound-images.d/app.image", type: "symlink", target: "/usr/share/app.image" },
      ],
    });
    const words = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests"];
    expect(runPeer("skopeo", [...words, `oci:${layout}:latest`, `docker://${name}`]).stderr).toBe("");
    const { stdout } = runPeer("skopeo", [
      "inspect",
      "--tls-verify=false",
      "--format",
      "{{.Digest}}",
      `docker://${name}`,
    ]);
    digests.push(stdout.trim());
    return stdout.trim();
  }

  function podman(...words: string[]): { status: number | null; stdout: string; stderr: string } {
    const run = join(work, "run");
    return runPeer("podman", [
      "--root",
      ownedStorageRoot(paths().sysroot),
      "--runroot",
      run,
      "--storage-driver",
      "overlay",
      ...words,
    ]);
  }

  async function withSysroot<T>(action: (sysroot: OpenSysroot) => Promise<T>): Promise<T> {
    await using sysroot = await OpenSysroot.open(locateSysroot(paths()));
    return await action(sysroot);
  }

  const names = () =>
    (ownedImages(paths().sysroot) ?? []).flatMap((image) => image.names).sort((a, b) => (a < b ? -1 : 1));

  it("holds the installed image once, under the registry's digest", async () => {
    const digest = push("1");
    const installed = await installDeployment(
      paths(),
      { transport: "registry", image: name },
      { unified: true, registry, verity: "allow-missing", kargs: ["rw"] },
    );
    first = installed.id ?? "";
    expect(installed.manifest).toBe(digest);
    expect(names()).toContain(name);
    const objects = readdirSync(join(paths().sysroot, "composefs/objects"), { recursive: true, encoding: "utf8" })
      .map((path) => lstatSync(join(paths().sysroot, "composefs/objects", path)))
      .filter((stat) => stat.isFile() && stat.size === 3_000_000);
    expect(objects.length).toBe(1);
    const storage = readdirSync(join(ownedStorageRoot(paths().sysroot), "overlay"), {
      recursive: true,
      encoding: "utf8",
    })
      .filter((path) => path.endsWith("diff/usr/big"))
      .map((path) => lstatSync(join(ownedStorageRoot(paths().sysroot), "overlay", path)));
    expect(storage.length).toBe(1);
    const shared = storage[0]?.ino === objects[0]?.ino;
    expect(shared || SHARES_BLOCKS.has(statfsSync(paths().sysroot).type)).toBe(true);
  });

  it("does not report an unchanged image as an update", async () => {
    const result = await withSysroot((sysroot) => upgradeDeployment(sysroot, { check: true, registry }));
    expect(result.decision).toEqual({ action: "none", reason: "booted" });
  });

  it("runs the image as a container", () => {
    const command = ["/usr/bin/busybox", "cat", "/etc/version.conf"];
    const limits = ["--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256"];
    const words = ["run", "--rm", "--network=none", "--cgroups=disabled", ...limits, name, ...command];
    const { status, stdout, stderr } = podman(...words);
    if (stderr.includes("cgroups in hybrid mode not supported")) {
      // The container runtime cannot work on this machine: what it would run is run without it.
      const mounted = podman("image", "mount", name).stdout.trim();
      expect(execFileSync("chroot", [mounted, ...command], { encoding: "utf8" })).toBe("1\n");
      expect(podman("image", "unmount", name).status).toBe(0);
    } else expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: "1\n" });
  });

  it("follows upgrades by itself, and keeps what is live or bound of it, and nothing else", async () => {
    // One that the images are bound to, and one that nobody needs.
    for (const tag of ["localhost/bound", "localhost/other"]) {
      const layout = join(work, `layout-${tag.slice(10)}`);
      hostLayout(layout, { version: tag.slice(10), bootless: true });
      const target = `containers-storage:[overlay@${ownedStorageRoot(paths().sysroot)}+${join(work, "run")}]${tag}`;
      const words = ["--insecure-policy", "copy", "--quiet", `oci:${layout}:latest`, target];
      const { status, stderr } = runPeer("skopeo", words);
      expect(status, stderr).toBe(0);
    }
    const digest = push("2");
    const result = await withSysroot((sysroot) => upgradeDeployment(sysroot, { registry }));
    expect(result.decision.action).toBe("stage");
    expect(result.manifest).toBe(digest);
    expect(names()).toContain("localhost/bound:latest");
    expect(names()).not.toContain("localhost/other:latest");
    // Both images are live, the older one by the name that it has for that.
    for (const one of digests) expect(names()).toContain(`localhost/bootc-deployment:${one.replace(":", "-")}`);
    expect(names()).toContain(name);

    const deleted = await withSysroot((sysroot) => deleteDeployment(sysroot, first));
    expect(deleted).toBeDefined();
    expect(names()).not.toContain(`localhost/bootc-deployment:${(digests[0] ?? "").replace(":", "-")}`);
    expect(names()).toContain(name);
    const again = await withSysroot((sysroot) => deployGc(sysroot));
    expect(again.plan.pruneContainerImages).toEqual([]);
    await using repository = await Repository.open(join(paths().sysroot, "composefs"));
    expect((await checkRepository(repository)).findings).toEqual([]);
    expect(podman("image", "ls", "--quiet").status).toBe(0);
  });
});
