// Which kernel, initramfs, os-release and stub a sealed image gets (docs/spec/boot.md, sections 5 and 6): what the caller names, else
// what the image has, else for the stub what this machine has. Decides and opens nothing.

import { displayBytes } from "../bytes/byte-string.ts";
import { ComposefsError } from "../error.ts";
import { PROCESSORS } from "../boot/processors.ts";
import type { BootFile, BootResource, KernelResource } from "../boot/resource.ts";
import { findNode, isRegularFile } from "../boot/tree-file.ts";
import type { Directory } from "../tree/node.ts";

/** Files that the caller names; the image's own where one is left out. */
export interface GivenParts {
  readonly kernel?: string | undefined;
  readonly initramfs?: readonly string[] | undefined;
  /** Which kernel of the image, and what the UKI says about it. */
  readonly kernelVersion?: string | undefined;
  readonly osRelease?: string | undefined;
  readonly stub?: string | undefined;
  /** The stub of addons. */
  readonly addonStub?: string | undefined;
  readonly splash?: string | undefined;
  readonly devicetree?: string | undefined;
  readonly microcode?: string | undefined;
}

/** Where a part comes from. */
export type Part =
  | { readonly from: "image"; readonly path: string; readonly file: BootFile }
  | { readonly from: "file"; readonly path: string };

/** What was chosen. */
export interface ChosenParts {
  readonly kernelVersion: string;
  readonly kernel: Part;
  readonly initramfs: readonly Part[];
  readonly stub: Part;
  /** Undefined when there are no addons. */
  readonly addonStub: Part | undefined;
  readonly osRelease: Part | undefined;
  readonly splash: Part | undefined;
  readonly devicetree: Part | undefined;
  readonly microcode: Part | undefined;
}

const STUBS = "/usr/lib/systemd/boot/efi";

/**
 * Chooses the parts.
 *
 * @param tree the image with its /boot
 * @param resources what it can be booted with
 * @param architecture of the image's config
 * @param exists whether a file is on this machine: for the stub
 * @param versionOf the version that a kernel on this machine says it has
 * @throws ComposefsError `not-found` for what is neither given nor in the image, `invalid` when there are several kernels
 */
export function chooseParts(
  tree: Directory,
  resources: readonly BootResource[],
  architecture: string,
  given: GivenParts & { readonly addons?: boolean },
  exists: (path: string) => boolean,
  versionOf: (path: string) => string | undefined,
): ChosenParts {
  const inImage = given.kernel === undefined ? chooseKernel(resources, given.kernelVersion) : undefined;
  const kernelVersion = given.kernelVersion ?? inImage?.kernel ?? versionOf(given.kernel as string);
  if (kernelVersion === undefined) {
    throw new ComposefsError("usage", `${given.kernel} does not say which version it is`, {
      hint: "give it with --kernel-version: it names the UKI",
    });
  }
  checkVersion(kernelVersion);
  return {
    kernelVersion,
    kernel: given.kernel === undefined ? imagePart((inImage as KernelResource).vmlinuz) : filePart(given.kernel),
    initramfs: chooseInitramfs(inImage, given),
    stub: chooseStub(tree, architecture, "linux", given.stub, exists),
    addonStub: given.addons === true ? chooseStub(tree, architecture, "addon", given.addonStub, exists) : undefined,
    osRelease: chooseOsRelease(tree, given),
    splash: optionalPart(given.splash),
    devicetree: optionalPart(given.devicetree),
    microcode: optionalPart(given.microcode),
  };
}

function chooseKernel(resources: readonly BootResource[], version: string | undefined): KernelResource {
  const kernels = resources.filter((resource) => resource.kind === "vmlinuz");
  const list = kernels.map(({ kernel }) => kernel).join(", ");
  if (version !== undefined) {
    const found = kernels.find(({ kernel }) => kernel === version);
    if (found !== undefined) return found;
    throw new ComposefsError("not-found", `the image has no kernel ${version}`, {
      hint: kernels.length === 0 ? "give one with --kernel FILE" : `it has ${list}`,
    });
  }
  const [only] = kernels;
  if (only !== undefined && kernels.length === 1) return only;
  if (only === undefined) {
    throw new ComposefsError("not-found", "the image has no kernel: there is no /usr/lib/modules/VERSION/vmlinuz", {
      hint: "give one with --kernel FILE, --initramfs FILE and --kernel-version VERSION",
    });
  }
  throw new ComposefsError("invalid", `the image has ${kernels.length} kernels: ${list}`, {
    hint: "choose one with --kernel-version",
  });
}

function chooseInitramfs(kernel: KernelResource | undefined, given: GivenParts): Part[] {
  if (given.initramfs !== undefined && given.initramfs.length > 0) return given.initramfs.map(filePart);
  if (kernel?.initramfs !== undefined) return [imagePart(kernel.initramfs)];
  const where = kernel === undefined ? "" : `: there is no /usr/lib/modules/${kernel.kernel}/initramfs.img`;
  throw new ComposefsError("not-found", `no initramfs to boot the image with${where}`, {
    reason: "no-initramfs",
    hint: "give one with --initramfs FILE; it mounts the composefs image",
  });
}

function chooseStub(
  tree: Directory,
  architecture: string,
  kind: "linux" | "addon",
  given: string | undefined,
  exists: (path: string) => boolean,
): Part {
  if (given !== undefined) return filePart(given);
  const option = kind === "linux" ? "--stub FILE" : "--addon-stub FILE";
  const efi = PROCESSORS[architecture]?.efi;
  if (efi === undefined) {
    throw new ComposefsError("unsupported", `there is no stub known for ${architecture}`, {
      hint: `give one with ${option}`,
    });
  }
  const path = `${STUBS}/${kind}${efi}.efi.stub`;
  const part = partInTree(tree, path) ?? (exists(path) ? filePart(path) : undefined);
  if (part !== undefined) return part;
  const since = kind === "addon" ? "since systemd 254 " : "";
  throw new ComposefsError("not-found", `there is no ${path}, neither in the image nor on this machine`, {
    path,
    hint: `it belongs ${since}to systemd-boot (Debian: systemd-boot-efi, Fedora: systemd-boot-unsigned); or give one with ${option}`,
  });
}

function chooseOsRelease(tree: Directory, given: GivenParts): Part | undefined {
  if (given.osRelease !== undefined) return filePart(given.osRelease);
  return partInTree(tree, "/usr/lib/os-release") ?? partInTree(tree, "/etc/os-release");
}

function partInTree(tree: Directory, path: string): Part | undefined {
  const node = findNode(tree, path);
  return isRegularFile(node) ? imagePart({ path, leaf: node }) : undefined;
}

function imagePart(file: BootFile): Part {
  return { from: "image", path: displayBytes(file.path), file };
}

function filePart(path: string): Part {
  return { from: "file", path };
}

function optionalPart(path: string | undefined): Part | undefined {
  return path === undefined ? undefined : filePart(path);
}

/** The version becomes a file name. */
function checkVersion(version: string): void {
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (/^[^/\u0000-\u001f\u007f]{1,200}$/.test(version) && version !== "." && version !== "..") return;
  throw new ComposefsError("invalid", `${JSON.stringify(version)} cannot be a kernel version`, {
    reason: "invalid-name",
    hint: "it names the file of the UKI",
  });
}
