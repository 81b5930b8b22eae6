// Mounts an image: the kernel's EROFS below, overlayfs above it. Nothing is visible before it is complete, and a failure
// leaves neither mounts nor loop devices behind.

import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync, symlinkSync, unlinkSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { ComposefsError, type ErrorCode } from "../../error.ts";
import { type DetachedMount, type MountCalls, mountCalls } from "../../runtime/mount-calls.ts";
import { type KernelVersion, type MountRequest, parseKernelVersion, planOverlay } from "./plan.ts";

/**
 * Mounts an image on a directory.
 *
 * @param image path of the image's file, which the caller has verified
 * @throws ComposefsError `permission` without the privilege to mount, `unsupported`, `invalid` when the kernel refuses
 */
export function mountImageFile(image: string, target: string, request: MountRequest): void {
  if (process.platform !== "linux")
    throw new ComposefsError("unsupported", "images can only be mounted by Linux", { path: target });
  const calls = mountCalls();
  if (calls === undefined) mountByProgram(image, target, request);
  else mountByCalls(calls, image, target, request);
}

function mountByCalls(calls: MountCalls, image: string, target: string, request: MountRequest): void {
  const kernel = parseKernelVersion(release());
  // What this kernel cannot do is refused before anything is mounted.
  planOverlay(request, target, kernel);
  using erofs = attempt("erofs", target, () => openErofs(calls, image, request.userNamespace));
  // Where overlayfs does not take a mount that is attached nowhere (before Linux 6.15), it is for a moment.
  const overlay = attempt("overlay", target, () => {
    if (erofs.fd !== undefined) {
      try {
        return createOverlay(`/proc/self/fd/${erofs.fd}`);
      } catch (error) {
        if ((error as { code?: unknown }).code !== "EINVAL") throw error;
        // Refused for another reason it is refused again.
      }
    }
    return createOverlay(erofs.path());
  });
  using mount = overlay;
  attempt("overlay", target, () => calls.attach(mount, target));

  function createOverlay(lower: string): DetachedMount {
    using short = shortPaths(request, lower, kernel);
    const { source, options, readOnly } = planOverlay(short.request, lower, kernel);
    return calls.create("overlay", source, options, readOnly);
  }
}

/** The longest value of an option that the kernel takes. */
const MAX_OPTION = 255;

/** The request as it is, or, if a value would be too long, with the directories by open descriptors. */
function shortPaths(
  request: MountRequest,
  lower: string,
  kernel: KernelVersion,
): Disposable & { request: MountRequest } {
  const { options } = planOverlay(request, lower, kernel);
  const open: number[] = [];
  const close = () => {
    for (const fd of open) closeSync(fd);
  };
  if (options.every(([, value]) => Buffer.byteLength(value) <= MAX_OPTION)) return { request, [Symbol.dispose]: close };
  const byDescriptor = (path: string) => {
    const fd = openSync(path, "r");
    open.push(fd);
    return `/proc/self/fd/${fd}`;
  };
  try {
    const { upper } = request;
    const objects = request.objects.map(byDescriptor);
    const layers = upper && { upperdir: byDescriptor(upper.upperdir), workdir: byDescriptor(upper.workdir) };
    return { request: { ...request, objects, upper: layers }, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

interface Erofs extends Disposable {
  /** Descriptor of the mount, while it is attached nowhere. */
  readonly fd: number | undefined;
  /** A directory that it is attached to. */
  path(): string;
}

function openErofs(calls: MountCalls, image: string, userNamespace: string | undefined): Erofs {
  let mount: DetachedMount;
  try {
    mount = calls.create("erofs", image, [], true);
  } catch (error) {
    // Before Linux 6.12 it wants a block device.
    if ((error as { code?: unknown }).code !== "ENOTBLK") throw error;
    if (userNamespace !== undefined)
      throw new ComposefsError("unsupported", "showing the ids of a user namespace needs Linux 6.12");
    const place = temporaryDirectory();
    try {
      run("mount", ["-t", "erofs", "-o", "ro,loop", image, place]);
    } catch (cause) {
      rmdirSync(place);
      throw cause;
    }
    return { fd: undefined, path: () => place, [Symbol.dispose]: () => leave(place) };
  }
  if (userNamespace !== undefined) {
    try {
      mapIds(calls, mount, userNamespace);
    } catch (error) {
      mount[Symbol.dispose]();
      throw error;
    }
  }
  let place: string | undefined;
  return {
    fd: mount.fd,
    path() {
      const directory = temporaryDirectory();
      try {
        calls.attach(mount, directory);
      } catch (error) {
        rmdirSync(directory);
        throw error;
      }
      place = directory;
      return directory;
    },
    [Symbol.dispose]() {
      if (place !== undefined) leave(place);
      mount[Symbol.dispose]();
    },
  };

  function leave(directory: string): void {
    calls.detach(directory);
    rmdirSync(directory);
  }
}

function mapIds(calls: MountCalls, mount: DetachedMount, userNamespace: string): void {
  const fd = openSync(userNamespace, "r");
  try {
    calls.mapIds(mount, fd);
  } catch (error) {
    throw new ComposefsError("invalid", `the ids of the user namespace ${userNamespace} cannot be shown`, {
      path: userNamespace,
      cause: error,
      hint: "it must be another one than this process has, with its ids mapped, and the kernel Linux 5.19 or later",
    });
  } finally {
    closeSync(fd);
  }
}

// mount(8) has its own opinions about commas, colons and quotes in options, so it gets links with harmless names.
function mountByProgram(image: string, target: string, request: MountRequest): void {
  // mount(8) before util-linux 2.39 passes over X-mount.idmap without a word.
  if (request.userNamespace !== undefined)
    throw new ComposefsError("unsupported", "showing the ids of a user namespace needs system calls of the kernel", {
      hint: "install the npm package koffi",
    });
  const base = temporaryDirectory();
  const undo: (() => void)[] = [() => rmdirSync(base)];
  try {
    const link = (name: string, path: string) => {
      symlinkSync(path, join(base, name));
      undo.push(() => unlinkSync(join(base, name)));
      return join(base, name);
    };
    const erofs = join(base, "erofs");
    mkdirSync(erofs);
    undo.push(() => rmdirSync(erofs));
    const file = link("image", image);
    const { upper } = request;
    const harmless: MountRequest = {
      ...request,
      objects: request.objects.map((path, i) => link(`objects${i}`, path)),
      upper: upper && { upperdir: link("upper", upper.upperdir), workdir: link("work", upper.workdir) },
    };
    const { source, options, readOnly } = planOverlay(harmless, erofs, parseKernelVersion(release()));
    attempt("erofs", target, () => {
      try {
        run("mount", ["-t", "erofs", "-o", "ro", file, erofs]);
      } catch {
        run("mount", ["-t", "erofs", "-o", "ro,loop", file, erofs]);
      }
    });
    undo.push(() => run("umount", ["-l", erofs]));
    const words = [readOnly ? "ro" : "rw", ...options.map(([name, value]) => `${name}=${value}`)];
    attempt("overlay", target, () => run("mount", ["-t", "overlay", "-o", words.join(","), "--", source, target]));
  } finally {
    for (const action of undo.toReversed()) action();
  }
}

function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), "composefs-mount-"));
}

function run(program: string, args: readonly string[]): void {
  try {
    execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, LC_ALL: "C" } });
  } catch (error) {
    const { stderr, code } = error as { stderr?: Buffer; code?: string };
    if (code === "ENOENT")
      throw new ComposefsError("unsupported", `mounting needs the program ${program}`, {
        cause: error,
        hint: "install util-linux, or the npm package koffi",
      });
    const said = stderr?.toString().trim().split("\n")[0] ?? String(error);
    throw Object.assign(new Error(said), {
      code: /permission denied|must be superuser|not permitted/i.test(said) ? "EPERM" : "EINVAL",
    });
  }
}

function attempt<T>(type: "erofs" | "overlay", target: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof ComposefsError) throw error;
    const { code, message } = error as { code?: string; message: string };
    const [kind, hint] = reason(code, type);
    throw new ComposefsError(kind, `mounting on ${target}: ${type} refuses it: ${message}`, {
      path: target,
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

function reason(code: string | undefined, type: string): [ErrorCode, string?] {
  switch (code) {
    case "EPERM":
    case "EACCES":
      return ["permission", "mounting needs root (CAP_SYS_ADMIN): run the same command with sudo"];
    case "ENODEV":
      return ["unsupported", `this kernel has no ${type}: load it with \`modprobe ${type}\``];
    case "EROFS":
      return ["read-only", "the upperdir and the workdir must be on a file system that can be written"];
    case "EBUSY":
      return ["locked", "another mount uses the upperdir or the workdir"];
    default:
      return ["io", "`dmesg` may say more"];
  }
}
