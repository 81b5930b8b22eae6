// The guest's system: the Node that runs this suite, the packed project as an installation would have it, the programs that
// stand in for koffi, busybox for the rest, and images to pull. An ext4 image, made without privileges.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeLayouts } from "./layouts.ts";
import { program } from "./programs.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

/** Programs of the host that the guest gets besides Node and busybox. */
const PROGRAMS = ["fsverity", "flock", "mount", "umount", "sync"] as const;

/** Mount points and other places that the guest needs. */
const DIRECTORIES = ["proc", "sys", "dev", "run", "tmp", "mnt", "disks/data", "disks/plain", "bin", "usr/bin"];

/** Makes the system disk as a file. */
export function makeSystemDisk(image: string): void {
  const root = mkdtempSync(join(tmpdir(), "composefs-vm-system-"));
  try {
    for (const directory of DIRECTORIES) mkdirSync(join(root, directory), { recursive: true });
    installSystem(root);
    writeLayouts(join(root, "layouts"));
    execFileSync(program("mke2fs"), ["-q", "-t", "ext4", "-b", "4096", "-m", "0", "-d", root, image, "320M"]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Fills a directory with Node, the packed project, busybox and programs. */
export function installSystem(root: string): void {
  for (const directory of ["bin", "usr/bin"]) mkdirSync(join(root, directory), { recursive: true });
  installPrograms(root);
  installProject(root);
}

function installPrograms(root: string): void {
  installBinary(root, realpathSync(process.execPath), "usr/bin/node");
  for (const name of PROGRAMS) installBinary(root, realpathSync(program(name)), `usr/bin/${name}`);
  const busybox = program("busybox");
  cpSync(busybox, join(root, "bin/busybox"), { dereference: true });
  for (const applet of execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n"))
    if (!existsSync(join(root, "bin", applet))) symlinkSync("busybox", join(root, "bin", applet));
  symlinkSync("../../bin/env", join(root, "usr/bin/env"));
}

/** Copies a program with the libraries that it is linked to, those to the same paths. */
function installBinary(root: string, path: string, target: string): void {
  cpSync(path, join(root, target));
  for (const library of librariesOf(path)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    cpSync(library, join(root, library), { dereference: true });
  }
}

/** The libraries that a program is linked to. */
export function librariesOf(path: string): string[] {
  const said = execFileSync("ldd", [path], { encoding: "utf8" });
  return [...said.matchAll(/^\t(?:\S+ => )?(\/\S+) \(0x/gm)].map(([, library = ""]) => library);
}

/** Unpacks the tarball of the project into /app/node_modules, with what it depends on beside it. */
function installProject(root: string): void {
  const modules = join(root, "app/node_modules");
  const target = join(modules, "composefs");
  mkdirSync(target, { recursive: true });
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", root], {
      cwd: PROJECT,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  ) as [{ filename: string }];
  const tarball = join(root, basename(packed.filename));
  execFileSync("tar", ["-xzf", tarball, "-C", target, "--strip-components=1"]);
  rmSync(tarball);

  const wanted = [target];
  const installed = new Set<string>();
  for (let folder = wanted.pop(); folder !== undefined; folder = wanted.pop()) {
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(folder, "package.json"), "utf8"),
    ) as { dependencies?: object; optionalDependencies?: object };
    for (const name of [...Object.keys(dependencies), ...Object.keys(optionalDependencies)]) {
      const source = join(PROJECT, "node_modules", name);
      // Optional ones are for other machines.
      if (installed.has(name) || (!existsSync(source) && !(name in dependencies))) continue;
      installed.add(name);
      cpSync(source, join(modules, name), { recursive: true });
      wanted.push(source);
    }
  }
  if (!installed.has("koffi")) throw new Error("koffi is not installed: run `npm install` without --omit=optional");
  // Under emulation V8's optimizing compilers and their threads cost a short command a third more than they give.
  const options = "--no-opt --no-wasm-tier-up --single-threaded";
  const start = `#!/bin/sh\nexec node ${options} /app/node_modules/composefs/dist/cli/main.js "$@"\n`;
  writeFileSync(join(root, "usr/bin/composefs"), start, { mode: 0o755 });
}
