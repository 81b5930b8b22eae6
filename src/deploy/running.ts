// What status adds for the system that runs (docs/spec/deployments.md, section 4.9): the overlay on /usr, a device that cannot be
// written, and what decides about a soft reboot: SELinux policies and the command lines inside UKIs. Reads only.

import { readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { repositoryBodies } from "../boot/boot-directory.ts";
import { openFileSource } from "../boot/file-source.ts";
import { BOOTC_PREFIX } from "../boot/entry/identity.ts";
import { UKI_DIRECTORY } from "../boot/entry/names.ts";
import { PeFile } from "../boot/pe/read.ts";
import { policyName } from "../boot/selinux/policy-text.ts";
import { findDirectory, findNode, isRegularFile, readText, regularFile } from "../boot/tree-file.ts";
import { ukiCommandLine, untilNul } from "../boot/uki/uki.ts";
import { utf8ByteString } from "../bytes/byte-string.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import { readTree } from "../image/read.ts";
import { withStoredImage } from "../repository/image-file.ts";
import type { Repository } from "../repository/repository.ts";
import type { MountEntry } from "./booted.ts";
import { readDeployments } from "./deployments.ts";
import type { SysrootLocation } from "./location.ts";
import type { SysrootState, UsrOverlay } from "./state.ts";

const CONFIG_LIMIT = 1 << 20;

/** The overlay on `/usr`: there is one when it is a mount of its own. */
export function usrOverlay(mounts: readonly MountEntry[]): UsrOverlay | undefined {
  const mount = mounts.findLast(({ mountPoint }) => mountPoint === "/usr");
  return mount && { accessMode: mount.readOnly ? "readOnly" : "readWrite", persistence: "transient" };
}

/**
 * Whether a path lies on a block device that cannot be written, whatever the mount says.
 *
 * @param mounts where the source of a file system is found that has no device of its own, as btrfs
 * @param sys where `/sys` is
 */
export function isReadOnlyDevice(path: string, mounts: readonly MountEntry[] = [], sys = "/sys"): boolean {
  const device = statSync(path, { bigint: true }).dev;
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  const source = mounts.findLast(({ mountPoint }) => mountPoint === path)?.source;
  const places = [
    `dev/block/${major}:${minor}`,
    ...(source?.startsWith("/dev/") ? [`class/block/${basename(source)}`] : []),
  ];
  return places.some((place) => {
    try {
      return readFileSync(join(sys, place, "ro"), "latin1").trim() === "1";
    } catch {
      return false;
    }
  });
}

/**
 * The state with what status shows besides: command lines inside UKIs, whether the device can be written, and of a system that runs
 * whether a soft reboot is possible and the overlay on `/usr`.
 *
 * @throws ComposefsError `aborted`; what cannot be read only makes a soft reboot impossible
 */
export async function withRunning(
  state: SysrootState,
  repository: Repository | undefined,
  location: SysrootLocation,
  signal?: AbortSignal,
): Promise<SysrootState> {
  const known = {
    ...state,
    ukiCommandLines: ukiCommandLines(state, location.esp),
    readOnly: isReadOnlyDevice(location.sysroot, location.mounts),
    usrOverlay: location.mounts && usrOverlay(location.mounts),
  };
  if (state.bootedId === undefined) return known;
  const { booted, staged, rollback, others } = readDeployments({ ...known, selinuxCompatible: true });
  const candidates = [staged, rollback, ...others].filter((one) => one?.softRebootCapable === true);
  if (!repository || !booted || candidates.length === 0) return { ...known, selinuxCompatible: new Map() };
  const own = await policyContent(repository, booted.id, signal);
  const compatible = new Map<string, boolean>();
  for (const one of candidates)
    if (one && own !== undefined) compatible.set(one.id, (await policyContent(repository, one.id, signal)) === own);
  return { ...known, selinuxCompatible: compatible };
}

// By artifact, as entries name them.
function ukiCommandLines(state: SysrootState, esp: string | undefined): Map<string, string> {
  const lines = new Map<string, string>();
  if (esp === undefined) return lines;
  const { menu } = readDeployments(state);
  for (const { kind, artifact } of [...menu.active.entries, ...(menu.staged?.entries ?? [])]) {
    if (kind !== "uki" || artifact === undefined || lines.has(artifact.name)) continue;
    const file = `${artifact.prefixed ? BOOTC_PREFIX : ""}${artifact.name}.efi`;
    try {
      const path = join(esp, UKI_DIRECTORY, file);
      using source = openFileSource(path);
      lines.set(artifact.name, untilNul(ukiCommandLine(PeFile.read(source, path))));
    } catch (error) {
      if (!(error instanceof ComposefsError)) throw error;
    }
  }
  return lines;
}

/**
 * What is the same for equal policies of SELinux, of the image of a deployment: empty when it has none, undefined when it cannot be read.
 */
async function policyContent(repository: Repository, id: string, signal?: AbortSignal): Promise<string | undefined> {
  throwIfAborted(signal);
  try {
    const root = withStoredImage(repository.store, repository.resolveImage(id).id, readTree);
    const config = findNode(root, "etc/selinux/config");
    if (!isRegularFile(config)) return "";
    const bodies = repositoryBodies(repository);
    const name = policyName(await readText(regularFile(config, "/etc/selinux/config"), bodies, CONFIG_LIMIT));
    if (name === undefined) return "";
    const directory = findDirectory(root, `etc/selinux/${utf8ByteString(name)}/policy`);
    const versions = [...(directory?.entries.keys() ?? [])].flatMap((file) => /^policy\.(\d+)$/.exec(file)?.[1] ?? []);
    const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
    const policy = newest === undefined ? undefined : directory?.entries.get(`policy.${newest}`);
    if (!isRegularFile(policy)) return "";
    const { content } = policy;
    // Equal objects have equal content, and the other way round.
    if (content.kind === "external") return content.digest;
    return content.kind === "inline" ? `inline ${Buffer.from(content.bytes).toString("hex")}` : undefined;
  } catch (error) {
    if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
    return undefined;
  }
}
