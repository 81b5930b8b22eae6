// The recorded directories on every file system that people build images from (docs/spec/tree.md, section 2): the same dumps,
// ids and images on ext4, tmpfs, XFS and btrfs. All but tmpfs lie in files that are mounted through a loop device.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { peer, type PeerName, remedyFor, skipOrFail } from "../peer.ts";
import { describeTreeGoldens, type FileSystemLimits, NO_LIMITS, XFS_LIMITS } from "../tree/tree-goldens.ts";
import { describeMounts } from "./privileges.ts";

interface FileSystem {
  readonly name: string;
  /** What makes it; none for tmpfs. */
  readonly mkfs?: PeerName;
  readonly limits: FileSystemLimits;
}

const FILE_SYSTEMS: readonly FileSystem[] = [
  { name: "ext4", mkfs: "mkfs.ext4", limits: NO_LIMITS },
  { name: "tmpfs", limits: NO_LIMITS },
  { name: "xfs", mkfs: "mkfs.xfs", limits: XFS_LIMITS },
  { name: "btrfs", mkfs: "mkfs.btrfs", limits: NO_LIMITS },
];

/** XFS takes no less than 300 MB. The file is sparse. */
const SIZE = 400 << 20;

function isKnownToKernel(name: string): boolean {
  const known = () => new RegExp(`\\b${name}$`, "m").test(readFileSync("/proc/filesystems", "utf8"));
  if (known()) return true;
  try {
    execFileSync("modprobe", [name], { stdio: "ignore" });
  } catch {
    return false;
  }
  return known();
}

describeMounts("recorded directories", () => {
  describe.each(FILE_SYSTEMS)("on $name", ({ name, mkfs, limits }) => {
    const remedy = remedyFor(mkfs === undefined ? ["mount"] : [mkfs, "mount"]);
    if (remedy !== undefined) {
      skipOrFail(remedy);
      return;
    }
    if (!isKnownToKernel(name)) {
      it.skip(`skipped: this kernel has no ${name}: load its module (modprobe ${name}) or use a kernel with it`, () => {});
      return;
    }
    let folder: string;
    let mounted: string | undefined;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), `composefs-on-${name}-`));
      const target = join(folder, "mounted");
      mkdirSync(target);
      if (mkfs === undefined) execFileSync(peer("mount"), ["-t", name, "none", target], { stdio: "pipe" });
      else {
        const file = join(folder, "disk");
        writeFileSync(file, "");
        truncateSync(file, SIZE);
        execFileSync(peer(mkfs), ["-q", file], { stdio: "pipe" });
        execFileSync(peer("mount"), ["-t", name, "-o", "loop", file, target], { stdio: "pipe" });
      }
      mounted = target;
    });
    afterAll(() => {
      if (mounted !== undefined) execFileSync("umount", [mounted]);
      rmSync(folder, { recursive: true, force: true });
    });

    describeTreeGoldens(() => join(folder, "mounted"), limits);
  });
});
