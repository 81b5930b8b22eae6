// The host's rules for registries, registries.conf (docs/spec/oci.md, section 3.2): mirrors, other locations, what is insecure and what
// is blocked. Short names, their aliases and the registries that are searched for them are no concern of ours: `docker://` has none.

import { readdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parse, TomlError } from "smol-toml";
import * as v from "valibot";

import { ComposefsError, systemError } from "../../error.ts";
import { lineOf } from "./toml-line.ts";

/** Another place that has the images of a registry. */
export interface Mirror {
  /** `host[:port][/path]`. */
  readonly location: string;
  readonly insecure: boolean;
  /** For which references it is asked. */
  readonly pulls: "all" | "digest-only" | "tag-only";
}

/** The rules for all names that begin with a prefix. */
export interface RegistryRule {
  /** `host[:port][/path[:tag]]` or `host[:port]/path@digest`, or `*.domain` for all hosts below. */
  readonly prefix: string;
  /** What takes the place of the prefix; undefined: nothing does. */
  readonly location: string | undefined;
  readonly insecure: boolean;
  readonly blocked: boolean;
  /** In the order in which they are asked. */
  readonly mirrors: readonly Mirror[];
  /** The file that says so. */
  readonly path: string;
}

const MirrorTable = v.looseObject({
  location: v.string(),
  insecure: v.optional(v.boolean(), false),
  "pull-from-mirror": v.optional(v.picklist(["", "all", "digest-only", "tag-only"]), ""),
});

const RegistryTable = v.looseObject({
  prefix: v.optional(v.string(), ""),
  location: v.optional(v.string(), ""),
  insecure: v.optional(v.boolean(), false),
  blocked: v.optional(v.boolean(), false),
  "mirror-by-digest-only": v.optional(v.boolean(), false),
  mirror: v.optional(v.array(MirrorTable), []),
});

const RegistriesConf = v.looseObject({
  registry: v.optional(v.array(RegistryTable), []),
  registries: v.optional(v.undefined("tables of version 1 are not read; version 2 says the same otherwise")),
});

const HINT = "see containers-registries.conf(5); the form is that of version 2, with [[registry]] tables";

/** A name of a registry or of a part of it; what requests are sent to. */
const LOCATION =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?(?:\/[a-z0-9][a-z0-9._-]*)*$/;
/** What may follow in a prefix: it is about a single image then. */
const IMAGE = /(?<=\/.*)(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@[a-z0-9+._-]+:[A-Za-z0-9=_-]+)$/;
const WILDCARD = /^\*(?:\.[A-Za-z0-9-]+)+$/;

/**
 * The rules of one file.
 *
 * @param path for messages
 * @throws ComposefsError `invalid` with `path` and where possible `line`
 */
export function parseRegistriesConf(text: string, path: string): RegistryRule[] {
  const fail = (message: string, line?: number) =>
    new ComposefsError("invalid", `${path}${line === undefined ? "" : `, line ${line}`}: ${message}`, {
      path,
      ...(line === undefined ? {} : { line }),
      hint: HINT,
    });
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw fail(error.message.split("\n")[0] ?? "not TOML", error.line);
  }
  const result = v.safeParse(RegistriesConf, document, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const place = v.getDotPath(issue) ?? "the document";
    throw fail(`${place}: ${issue.message}`, lineOf(text, place.split(".")));
  }
  return result.output.registry.map((table, index): RegistryRule => {
    const failAt = (message: string, ...place: (string | number)[]) =>
      fail(message, lineOf(text, ["registry", String(index), ...place.map(String)]));
    const prefix = trimSlashes(table.prefix || table.location);
    const location = table.location === "" ? undefined : trimSlashes(table.location);
    if (prefix === "") throw failAt("a [[registry]] has neither prefix nor location");
    const key = table.prefix ? "prefix" : "location";
    if (!LOCATION.test(prefix.replace(IMAGE, "")) && !WILDCARD.test(prefix))
      throw failAt(`${JSON.stringify(prefix)} is no prefix: host[:port][/path] or *.domain is`, key);
    if (location !== undefined && !LOCATION.test(location))
      throw failAt(`${JSON.stringify(location)} is no location: host[:port][/path] is`, "location");
    const mirrors = table.mirror.map(({ location: place, insecure, "pull-from-mirror": pulls }, at): Mirror => {
      const where = trimSlashes(place);
      if (!LOCATION.test(where))
        throw failAt(`${JSON.stringify(place)} is no location of a mirror of ${prefix}`, "mirror", at, "location");
      if (pulls !== "" && table["mirror-by-digest-only"])
        throw failAt(
          `${prefix} has mirror-by-digest-only, and its mirror ${where} has pull-from-mirror: only one of them`,
          "mirror-by-digest-only",
        );
      return { location: where, insecure, pulls: pulls || (table["mirror-by-digest-only"] ? "digest-only" : "all") };
    });
    return { prefix, location, insecure: table.insecure, blocked: table.blocked, mirrors, path };
  });
}

function trimSlashes(text: string): string {
  return text.replace(/\/+$/, "");
}

/**
 * The rules of this host: `$CONTAINERS_REGISTRIES_CONF`, else the user's file, else the system's; then the drop-ins of the directory
 * `registries.conf.d` beside it, of which the last one decides about a prefix.
 *
 * @throws ComposefsError as {@link parseRegistriesConf}, and for a file that cannot be read
 */
export async function loadRegistriesConf(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<RegistryRule[]> {
  const named = environment["CONTAINERS_REGISTRIES_CONF"];
  const home = environment["HOME"] || homedir();
  const candidates = named
    ? [named]
    : [join(home, ".config/containers/registries.conf"), "/etc/containers/registries.conf"];
  const rules = new Map<string, RegistryRule>();
  const add = (text: string, path: string) => {
    for (const rule of parseRegistriesConf(text, path)) rules.set(rule.prefix, rule);
  };
  for (const path of candidates) {
    const text = await read(path, path === named);
    const directory = join(dirname(path), "registries.conf.d");
    const names = (await list(directory)).filter((name) => name.endsWith(".conf")).sort();
    if (text === undefined && names.length === 0) continue;
    if (text !== undefined) add(text, path);
    for (const name of names) add((await read(join(directory, name), true)) ?? "", join(directory, name));
    break;
  }
  return [...rules.values()];
}

async function read(path: string, isRequired: boolean): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (!isRequired && isMissing(error)) return undefined;
    throw systemError(error, `reading the rules for registries in ${path}`, path);
  }
}

async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw systemError(error, `reading the rules for registries in ${directory}`, directory);
  }
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(String((error as { code?: unknown }).code));
}
