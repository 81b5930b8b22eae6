// Words of `mkcomposefs` (docs/spec/tools-c.md, section 1; versions: docs/spec/tree.md, section 3.2).

import { CToolError } from "./c-tool.ts";
import { getopt } from "./getopt.ts";

/** The usage text, as the C tool's. */
export const MKCOMPOSEFS_USAGE = `Usage: mkcomposefs [OPTIONS] SOURCE IMAGE
       mkcomposefs [OPTIONS] --print-digest-only SOURCE
Options:
  --digest-store=PATH   Store content files in this directory
  --use-epoch           Make all mtimes zero
  --skip-devices        Don't store device nodes
  --skip-xattrs         Don't store file xattrs
  --user-xattrs         Only store user.* xattrs
  --print-digest        Print the digest of the image
  --print-digest-only   Print the digest of the image, don't write image
  --from-file           The source is a dump file, not a directory
  --min-version=N       Use this minimal format version (default=0)
  --max-version=N       Use this maximum format version (default=1)
  --threads=N           Use this number of threads
  --hardlinks           Store names of one file as hard links
  --json                Print digest, size and version as JSON
  --help                Print this
  --version             Print the version
`;

/** An image to make. */
export interface ImageRequest {
  /** Path of the directory, or of the dump; `-` is stdin. */
  readonly source: string;
  /** What is done with a directory; undefined for a dump, which is taken as it is. */
  readonly directory: DirectoryRequest | undefined;
  /** Path of the image; `-` is stdout; undefined: only the digest. */
  readonly image: string | undefined;
  readonly printDigest: boolean;
  readonly json: boolean;
  readonly minVersion: 0 | 1;
  readonly maxVersion: 0 | 1;
}

/** What an image keeps of a directory. */
export interface DirectoryRequest {
  readonly epoch: boolean;
  readonly devices: boolean;
  readonly xattrs: "all" | "user" | "none";
  readonly hardLinks: boolean;
  readonly digestStore: string | undefined;
  readonly threads: number | undefined;
}

const FLAGS = [
  "use-epoch",
  "skip-devices",
  "skip-xattrs",
  "user-xattrs",
  "print-digest",
  "print-digest-only",
  "from-file",
  "hardlinks",
  "json",
  "help",
  "version",
];
/** More only wait for each other. */
const MOST_THREADS = 64;
const VALUES = ["digest-store", "min-version", "max-version", "threads"];

/** Understands the words of the command line. Throws {@link CToolError}. */
export function parseMkcomposefs(words: readonly string[]): ImageRequest {
  const { options, args } = getopt(words, { flags: FLAGS, values: VALUES });
  return request(new Map(options), args);
}

function request(options: ReadonlyMap<string, string>, args: readonly string[]): ImageRequest {
  const versions = versionRange(options.get("min-version"), options.get("max-version"));
  const threads = options.get("threads");
  if (threads !== undefined && !/^[1-9][0-9]*$/.test(threads)) {
    throw new CToolError(`Invalid threads count ${threads}`);
  }
  const [source, image] = args;
  const digestOnly = options.has("print-digest-only");
  if (source === undefined) throw new CToolError("No source path specified", { usage: true });
  if (source === "") throw new CToolError("Empty source path specified");
  if (args.length > 2) throw new CToolError("Too many arguments", { usage: true });
  if (digestOnly && image !== undefined) {
    throw new CToolError("Cannot specify destination path with --print-digest-only", { usage: true });
  }
  if (!digestOnly && image === undefined) throw new CToolError("No destination path specified", { usage: true });
  if (options.has("skip-xattrs") && options.has("user-xattrs")) {
    throw new CToolError("--skip-xattrs and --user-xattrs exclude each other");
  }
  const json = options.has("json");
  if (json && image === "-") throw new CToolError("--json and the image cannot both go to stdout");
  const directory: DirectoryRequest = {
    epoch: options.has("use-epoch"),
    devices: !options.has("skip-devices"),
    xattrs: options.has("skip-xattrs") ? "none" : options.has("user-xattrs") ? "user" : "all",
    hardLinks: options.has("hardlinks"),
    digestStore: options.get("digest-store"),
    threads: threads === undefined ? undefined : Math.min(Number(threads), MOST_THREADS),
  };
  return {
    source,
    directory: options.has("from-file") ? undefined : directory,
    image,
    printDigest: digestOnly || options.has("print-digest"),
    json,
    ...versions,
  };
}

function versionRange(min: string | undefined, max: string | undefined): { minVersion: 0 | 1; maxVersion: 0 | 1 } {
  const number = (text: string | undefined, what: string, otherwise: number) => {
    if (text === undefined) return otherwise;
    if (!/^[+-]?[0-9]{1,9}$/.test(text)) throw new CToolError(`Invalid ${what} version ${text}`);
    return Number(text);
  };
  // An option that is not given counts as 0 as soon as the other one is given.
  const minVersion = number(min, "min", 0);
  const maxVersion = Math.max(minVersion, number(max, "max", min === undefined ? 1 : 0));
  if ((minVersion !== 0 && minVersion !== 1) || maxVersion > 1) {
    throw new CToolError("cannot write file: Invalid argument");
  }
  return { minVersion, maxVersion: maxVersion === 1 ? 1 : 0 };
}
