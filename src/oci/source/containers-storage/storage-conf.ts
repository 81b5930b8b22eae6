// Which directories to look for stores in: storage.conf and the environment (docs/spec/containers-storage.md, sections 1.2, 1.3).

import { readFileSync, realpathSync } from "node:fs";
import { homedir } from "node:os";

import * as v from "valibot";

import { ComposefsError, systemError } from "../../../error.ts";
import { errnoOf } from "./fault.ts";
import { isOverlay, storageOptions } from "./storage-reference.ts";

/** What discovery depends on; the process's own when left out. */
export interface StorageEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  /** Whether this is no real root: another user, or root of a user namespace that a user made. */
  readonly rootless: boolean;
  readonly home: string;
}

/** Directories that may be stores, in the order in which images are searched. */
export interface StorageCandidates {
  readonly roots: readonly string[];
  /** The configuration file that was used; undefined when there is none. */
  readonly configFile: string | undefined;
  /** The driver that is configured, when it is not overlay; its root is not among the roots. */
  readonly otherDriver: { readonly driver: string; readonly root: string } | undefined;
}

const strings = v.nullish(v.string());
const storageConf = v.object({
  storage: v.nullish(
    v.object({
      driver: strings,
      graphroot: strings,
      rootless_storage_path: strings,
      imagestore: strings,
      options: v.nullish(v.object({ additionalimagestores: v.nullish(v.array(v.string())) })),
    }),
  ),
});
type StorageTable = NonNullable<v.InferOutput<typeof storageConf>["storage"]>;

/** The environment of this process. */
export function processEnvironment(): StorageEnvironment {
  const { env } = process;
  const uid = process.getuid?.() ?? 0;
  return { env, uid, rootless: uid !== 0 || outerUid() !== 0, home: env["HOME"] || homedir() };
}

/** Who root of this user namespace is outside of it. */
function outerUid(): number {
  try {
    const [inside, outside] = readFileSync("/proc/self/uid_map", "latin1").trim().split(/\s+/).map(Number);
    return inside === 0 ? (outside ?? 0) : 0;
  } catch {
    return 0;
  }
}

/**
 * Where stores may be: what the environment names, what is configured, the default places.
 *
 * @throws ComposefsError `invalid` when the configuration file is no TOML document or has wrong types in it
 */
export async function storageCandidates(from: StorageEnvironment): Promise<StorageCandidates> {
  const { env, rootless, home } = from;
  const dataHome = env["XDG_DATA_HOME"] || `${home}/.local/share`;
  const { table, path, system } = await configuration(from);
  const systemOnly = rootless && system;
  const defaultRoot = rootless
    ? (expanded(table.rootless_storage_path, from) ?? `${dataHome}/containers/storage`)
    : "/var/lib/containers/storage";
  const graphRoot = (systemOnly ? undefined : expanded(table.graphroot, from)) ?? defaultRoot;
  const fromEnv = storageOptions(env["STORAGE_OPTS"] ?? "");
  // For root the variable stands in place of the file's options, for users it adds to them.
  const fileOptions = systemOnly || (!rootless && env["STORAGE_OPTS"]) ? undefined : table;
  const imageStore = fromEnv.imageStore ?? expanded(fileOptions?.imagestore, from);
  const additional = (fileOptions?.options?.additionalimagestores ?? []).map(
    (store) => expanded(store, from) as string,
  );
  const driver = env["STORAGE_DRIVER"] || table.driver || "overlay";
  const configured = isOverlay(driver)
    ? [...(imageStore === undefined ? [] : [imageStore]), graphRoot, ...additional]
    : [];
  const others = [
    ...(env["XDG_DATA_HOME"] ? [`${env["XDG_DATA_HOME"]}/containers/storage`] : []),
    `${home}/.local/share/containers/storage`,
    "/var/lib/containers/storage",
  ].filter((root) => isOverlay(driver) || resolved(root) !== resolved(graphRoot));
  const explicit = env["CONTAINERS_STORAGE_ROOT"];
  const all = [...(explicit ? [explicit] : []), ...configured, ...others, ...fromEnv.additional].map(resolved);
  return {
    roots: [...new Set(all)],
    configFile: path,
    otherDriver: isOverlay(driver) ? undefined : { driver, root: graphRoot },
  };
}

async function configuration({
  env,
  rootless,
  home,
}: StorageEnvironment): Promise<{ table: StorageTable; path: string | undefined; system: boolean }> {
  const named = env["CONTAINERS_STORAGE_CONF"];
  const user = [`${env["XDG_CONFIG_HOME"] || `${home}/.config`}/containers/storage.conf`];
  if (user[0] !== `${home}/.config/containers/storage.conf`) user.push(`${home}/.config/containers/storage.conf`);
  const system = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];
  const files = named ? [named] : rootless ? [...user, ...system] : system;
  for (const path of files) {
    const table = await readConf(path);
    if (table !== undefined) return { table, path, system: !named && system.includes(path) };
  }
  return { table: {}, path: undefined, system: false };
}

async function readConf(path: string): Promise<StorageTable | undefined> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw systemError(error, "reading the configuration of container stores", path);
  }
  const { parse } = await import("smol-toml");
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ComposefsError("invalid", `${path} is no TOML document: ${(error as Error).message.split("\n")[0]}`, {
      path,
      cause: error,
    });
  }
  const checked = v.safeParse(storageConf, document);
  if (checked.success) return checked.output.storage ?? {};
  const [issue] = checked.issues;
  throw new ComposefsError("invalid", `${path}: ${v.getDotPath(issue) ?? "it"} is wrong: ${issue.message}`, { path });
}

/** A path of the configuration with the variables in it. */
function expanded(value: string | null | undefined, { env, uid }: StorageEnvironment): string | undefined {
  if (!value) return undefined;
  return value.replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced?: string, plain?: string) => {
    const name = (braced ?? plain) as string;
    return name === "UID" ? String(uid) : (env[name] ?? "");
  });
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
