// From the names that commands take to object ids (docs/spec/repository.md, section 7.2).

import { join } from "node:path";
import { type Algorithm, isObjectId, type ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError } from "../error.ts";
import { listLinks, objectOfTarget, readLink, targetPath } from "./links.ts";
import { type Category, checkLookupName } from "./names.ts";

/** What a name stands for. */
export interface Resolved {
  /** The first-level entry: a content id or an image id. */
  entry: string;
  /** The object that it leads to. Whether that exists is not checked. */
  id: ObjectId;
}

/** The object of a first-level entry; undefined when there is no such entry. */
export function entryObject(
  root: string,
  category: Category,
  entry: string,
  algorithm: Algorithm,
): ObjectId | undefined {
  const link = `${category}/${entry}`;
  const target = readLink(root, link);
  if (target === undefined) return undefined;
  const id = typeof target === "string" && target.startsWith("../") ? objectOfTarget(target, algorithm) : undefined;
  if (id === undefined) throw notAnObject(root, link, target, algorithm);
  return id;
}

/** The first-level entry that a ref names; undefined when there is no such ref. */
export function refEntry(root: string, category: Category, name: string): string | undefined {
  const link = `${category}/refs/${name}`;
  const target = readLink(root, link);
  if (target === undefined || typeof target !== "string") return undefined;
  const path = targetPath(link, target);
  const entry = path?.slice(category.length + 1) ?? "";
  if (!path?.startsWith(`${category}/`) || entry === "" || entry === "refs" || entry.includes("/"))
    throw new ComposefsError("corrupt", `the ref ${name} leads out of ${category}/, to ${JSON.stringify(target)}`, {
      path: join(root, link),
      hint: "remove the ref",
    });
  return entry;
}

/** Resolves the name of a stream: a content id, or `refs/` and the name of a ref. */
export function resolveStream(root: string, name: string, algorithm: Algorithm): Resolved {
  checkLookupName(name, "stream name");
  const entry = name.startsWith("refs/") ? refEntry(root, "streams", name.slice(5)) : name;
  const id = entry === undefined || entry.includes("/") ? undefined : entryObject(root, "streams", entry, algorithm);
  if (id === undefined || entry === undefined)
    throw new ComposefsError("not-found", `there is no stream ${name}`, {
      path: join(root, "streams", name),
      hint: "streams are named by their content id, such as oci-manifest-sha256:..., or by refs/NAME; `composefs oci images` lists tags",
    });
  return { entry, id };
}

/**
 * Resolves the name of an image: an image id, with or without the prefix `sha256:` or `sha512:`, a unique beginning of at
 * least 8 digits of one, the name of a ref, or that name after `refs/`.
 */
export function resolveImage(root: string, name: string, algorithm: Algorithm): Resolved {
  checkLookupName(name, "image name");
  const entry = findImageEntry(root, name, algorithm);
  const id = entry === undefined ? undefined : entryObject(root, "images", entry, algorithm);
  if (id === undefined || entry === undefined)
    throw new ComposefsError("not-found", `image not found: ${name}`, {
      path: join(root, "images"),
      hint: "`composefs images` lists named images; images of containers are listed by `composefs oci images`",
    });
  return { entry, id };
}

function findImageEntry(root: string, name: string, algorithm: Algorithm): string | undefined {
  if (name.startsWith("refs/")) return refEntry(root, "images", name.slice(5));
  if (!name.includes("/") && name !== "refs" && readLink(root, `images/${name}`) !== undefined) return name;
  const ref = refEntry(root, "images", name);
  if (ref !== undefined) return ref;
  const digits = name.startsWith(`${algorithm}:`) ? name.slice(algorithm.length + 1) : name;
  if (isObjectId(digits, algorithm)) return digits;
  if (!/^[0-9a-f]{8,}$/.test(digits)) return undefined;
  const matches = listLinks(root, "images", "refs").filter((image) => image.name.startsWith(digits));
  if (matches.length > 1)
    throw new ComposefsError("usage", `${name} is the beginning of ${matches.length} images`, {
      hint: "give more digits",
    });
  return matches[0]?.name;
}

function notAnObject(root: string, link: string, target: unknown, algorithm: Algorithm): ComposefsError {
  const reason =
    typeof target === "string"
      ? `leads to ${JSON.stringify(target)}, which is no ${algorithm} object`
      : "is not a symbolic link";
  return new ComposefsError("corrupt", `${link} ${reason}`, {
    path: join(root, link),
    hint: "run `composefs fsck`; the repository may have been made with another algorithm",
  });
}
