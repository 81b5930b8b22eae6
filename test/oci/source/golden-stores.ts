// The recorded container stores (docs/spec/containers-storage.md, section 18): unpacked once, copied for every change.

import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join } from "node:path";

/** A layer of a recorded image. */
export interface GoldenLayer {
  diff_id: string;
  store: string;
  layer_id: string;
  tar_size: number;
  external: { count: number; bytes: number };
  inline_bytes: number;
  object_ids: { sha256: string[]; sha512: string[] };
}

/** A recorded image. */
export interface GoldenImage {
  store: string;
  id: string;
  names: string[];
  manifest_sha256: string;
  manifest_media_type: string;
  config_digest: string;
  layers: GoldenLayer[];
  image_id: Record<string, string>;
}

/** A recorded store: its roots, the primary one first. */
export interface GoldenStore {
  tar: string;
  roots: string[];
  images: GoldenImage[];
}

/** One step of a change to a store. */
export type Operation =
  | { op: "write"; path: string; offset: number; hex: string }
  | { op: "truncate"; path: string; size: number }
  | { op: "append"; path: string; hex: string }
  | { op: "put"; path: string; hex: string }
  | { op: "remove" | "mkfifo" | "remove_glob"; path: string }
  | { op: "symlink"; path: string; target: string }
  | { op: "rename"; from: string; to: string }
  | { op: "swap"; a: string; b: string }
  | { op: "replace"; path: string; from: string; to: string }
  | { op: "json"; path: string; where: Record<string, unknown>; set?: Record<string, unknown>; delete?: string[] };

/** A change to a store, and what has to come of it. */
export interface Mutation {
  name: string;
  store: string;
  root: string;
  image: string;
  ops: Operation[];
  expect: "ok" | "error";
  error?: string;
}

/** The recorded stores of a folder. */
export function openStores(folder: string): {
  stores: [string, GoldenStore][];
  mutations: Mutation[];
  unpack: (store: GoldenStore, into: string) => string[];
} {
  const read = (name: string) => JSON.parse(fs.readFileSync(join(folder, name), "utf8")) as unknown;
  const { stores } = read("index.json") as { stores: Record<string, GoldenStore> };
  const { mutations } = read("mutations.json") as { mutations: Mutation[] };
  return {
    stores: Object.entries(stores),
    mutations,
    unpack(store, into) {
      fs.mkdirSync(into, { recursive: true });
      const asRoot = process.getuid?.() === 0;
      const options = asRoot ? ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf"] : ["-xzf"];
      // Another user cannot make devices, which no layer needs.
      const { status, stderr } = spawnSync("tar", [...options, join(folder, store.tar), "-C", into], {
        encoding: "utf8",
      });
      if (status !== 0 && (asRoot || status !== 2)) throw new Error(`tar: ${stderr}`);
      if (!asRoot) execFileSync("chmod", ["-R", "u+rwX", into]);
      return store.roots.map((root) => join(into, root));
    },
  };
}

/** Copies a store whole, special files and all. */
export function copyStore(from: string, to: string): void {
  execFileSync("cp", ["-a", from, to]);
  execFileSync("chmod", ["-R", "u+w", to]);
}

/** Changes a store. */
export function change(root: string, operation: Operation): void {
  const at = (path: string) => join(root, path);
  switch (operation.op) {
    case "write": {
      const fd = fs.openSync(at(operation.path), "r+");
      const bytes = Buffer.from(operation.hex, "hex");
      fs.writeSync(fd, bytes, 0, bytes.length, operation.offset);
      fs.closeSync(fd);
      return;
    }
    case "truncate":
      return fs.truncateSync(at(operation.path), operation.size);
    case "append":
      return fs.appendFileSync(at(operation.path), Buffer.from(operation.hex, "hex"));
    case "put":
      return fs.writeFileSync(at(operation.path), Buffer.from(operation.hex, "hex"));
    case "remove":
      return fs.rmSync(at(operation.path), { recursive: true });
    case "remove_glob": {
      const folder = dirname(at(operation.path));
      const prefix = operation.path.slice(operation.path.lastIndexOf("/") + 1).replace(/\*$/, "");
      const names = fs.readdirSync(folder).filter((name) => name.startsWith(prefix));
      if (names.length === 0) throw new Error(`nothing matches ${operation.path}`);
      for (const name of names) fs.rmSync(join(folder, name), { recursive: true });
      return;
    }
    case "mkfifo":
      execFileSync("mkfifo", [at(operation.path)]);
      return;
    case "symlink":
      return fs.symlinkSync(operation.target, at(operation.path));
    case "rename":
      return fs.renameSync(at(operation.from), at(operation.to));
    case "swap": {
      const between = `${at(operation.a)}.swap`;
      fs.renameSync(at(operation.a), between);
      fs.renameSync(at(operation.b), at(operation.a));
      fs.renameSync(between, at(operation.b));
      return;
    }
    case "replace": {
      const text = fs.readFileSync(at(operation.path), "utf8");
      if (!text.includes(operation.from)) throw new Error(`${operation.path} does not have ${operation.from}`);
      return fs.writeFileSync(at(operation.path), text.replace(operation.from, operation.to));
    }
    case "json": {
      const entries = JSON.parse(fs.readFileSync(at(operation.path), "utf8")) as Record<string, unknown>[];
      const found = entries.filter((entry) =>
        Object.entries(operation.where).every(([key, value]) => entry[key] === value),
      );
      if (found.length === 0) throw new Error(`no entry in ${operation.path}`);
      for (const entry of found) {
        Object.assign(entry, operation.set);
        for (const key of operation.delete ?? []) delete entry[key];
      }
      return fs.writeFileSync(at(operation.path), JSON.stringify(entries));
    }
    default:
      throw new Error(`unknown operation ${JSON.stringify(operation)}`);
  }
}
