// Words of `mount.composefs` (docs/spec/tools-c.md, section 4.1), also as mount(8) gives them.

import type { MountFileOptions } from "../index.ts";
import { CToolError } from "./c-tool.ts";
import { getopt } from "./getopt.ts";

/** The usage text. */
export const MOUNT_USAGE = `Usage: mount.composefs [-t composefs] [-o OPT[,OPT...]] IMAGE MOUNTPOINT
Mounts a composefs image; also as mount -t composefs. End it with umount.
Options:
  -t TYPE                   composefs
  -o OPT[,OPT...]           Options as below; a backslash quotes the next character
  --json                    Print what was mounted
  -h, --help                Print this
  --version                 Print the version
  -f                        Check, but do not mount
  -s, -n, -v                Ignored
Mount options:
  basedir=DIR[:DIR...]      Where the objects are, in the order of lookup (required)
  digest=HEX                The fs-verity digest that the image must have; implies verity
  digestcheck=WHO           kernel (the default), or user: read and hash the image once where the kernel has no fs-verity;
                            verity is then not implied
  verity                    Refuse files without the right fs-verity digest
  tryverity                 The same where the kernel knows the option
  upperdir=DIR, workdir=DIR Layer for changes
  idmap=PATH                User namespace whose ids are shown: /proc/PID/ns/user
  ro, rw                    Without and with changes (the default if there is an upperdir)
Examples:
  mount.composefs -o basedir=/store os.img /mnt
  mount.composefs -o basedir=/store,upperdir=/up,workdir=/work os.img /mnt
  mount.composefs -o basedir=/store,digest=$(composefs-info measure-file os.img),digestcheck=user os.img /mnt
`;

/** The words, understood. */
export interface MountWords {
  readonly image: string;
  readonly target: string;
  readonly options: MountFileOptions;
  readonly json: boolean;
  /** Only check. */
  readonly fake: boolean;
}

const VALUES = ["basedir", "digest", "digestcheck", "upperdir", "workdir", "idmap"];
const FLAGS = ["verity", "tryverity", "ro", "rw"];

/** Understands the words of the command line. Throws {@link CToolError}. */
export function parseMount(words: readonly string[]): MountWords {
  const { options, args } = getopt(words, {
    flags: ["json", "help", "version", "sloppy", "no-mtab", "verbose", "fake"],
    values: ["types", "options", "namespace"],
    letters: {
      t: "types",
      o: "options",
      N: "namespace",
      s: "sloppy",
      n: "no-mtab",
      v: "verbose",
      f: "fake",
    },
  });
  const given = (name: string) => options.filter(([option]) => option === name).map(([, value]) => value);
  const type = given("types").find((each) => each !== "composefs");
  if (type !== undefined) throw new CToolError(`Unsupported fs type '${type}'`, { hint: "it is composefs" });
  const [image, target, ...others] = args;
  if (image === undefined) throw new CToolError("No source path specified", { usage: true });
  if (target === undefined) throw new CToolError("No mount path specified", { usage: true });
  if (others.length > 0) throw new CToolError("Too many arguments", { usage: true });
  const mountOptions = splitOptions(given("options").join(","));
  return {
    image,
    target,
    options: fileOptions(mountOptions),
    json: given("json").length > 0,
    fake: given("fake").length > 0,
  };
}

function fileOptions(options: ReadonlyMap<string, string>): MountFileOptions {
  const basedir = options.get("basedir");
  if (basedir === undefined)
    throw new CToolError("No object dirs specified", {
      hint: "say where the objects are: -o basedir=DIR",
      usage: true,
    });
  const objects = basedir.split(":");
  if (objects.includes(""))
    throw new CToolError("Value for basedir option has incorrect format", { hint: "it is DIR[:DIR...]" });
  const upperdir = options.get("upperdir");
  const workdir = options.get("workdir");
  if ((upperdir === undefined) !== (workdir === undefined))
    throw new CToolError("Both workdir and upperdir must be specified if used");
  const check = options.get("digestcheck") ?? "kernel";
  if (check !== "kernel" && check !== "user")
    throw new CToolError(`Invalid digestcheck ${check}`, { hint: "it is kernel or user" });
  return {
    objects,
    digest: options.get("digest"),
    checkInUserSpace: check === "user",
    verity: options.has("verity") ? true : options.has("tryverity") ? "if-possible" : false,
    upperdir,
    workdir,
    readOnly: options.get("ro") === "",
    userNamespace: options.get("idmap"),
  };
}

/** Splits at commas; a backslash quotes the next character. The last of several equal names counts, `ro` and `rw` too. */
function splitOptions(text: string): Map<string, string> {
  const options = new Map<string, string>();
  for (const [, item = ""] of text.matchAll(/((?:\\[^]|[^,\\])*\\?)(?:,|$)/g)) {
    if (item === "") continue;
    const equals = item.indexOf("=");
    const name = equals < 0 ? item : item.slice(0, equals);
    if (![...VALUES, ...FLAGS].includes(name))
      throw new CToolError(`Unsupported option ${name}`, { hint: `known are ${[...VALUES, ...FLAGS].join(", ")}` });
    if (VALUES.includes(name) && equals < 0) throw new CToolError(`No value specified for ${name} option`);
    if (name === "ro" || name === "rw") options.delete(name === "ro" ? "rw" : "ro");
    options.set(name, FLAGS.includes(name) ? "" : item.slice(equals + 1).replace(/\\([^])/g, "$1"));
  }
  return options;
}
