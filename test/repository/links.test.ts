import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  listLinks,
  objectOfTarget,
  objectTarget,
  putLink,
  readLink,
  removeLink,
  targetPath,
  walkLinks,
} from "../../src/repository/links.ts";
import { checkEntryName, checkRefName, relativeTarget } from "../../src/repository/names.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-links-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const id = "ab".repeat(32);

test("relative targets, exactly", () => {
  expect(relativeTarget("streams/S", objectTarget(id))).toBe(`../objects/ab/${id.slice(2)}`);
  expect(relativeTarget("streams/refs/x", "streams/S")).toBe("../S");
  expect(relativeTarget("streams/refs/oci/x", "streams/S")).toBe("../../S");
  expect(relativeTarget("images/refs/a/b/c", `images/${id}`)).toBe(`../../../${id}`);
  expect(relativeTarget("x", "y")).toBe("y");
  expect(relativeTarget("streams/streams", "streams/streams2")).toBe("streams2");
});

test("objects of targets: the last xx/rest, whatever precedes it", () => {
  for (const prefix of ["../objects/", "/elsewhere/", "../../x/y/"])
    expect(objectOfTarget(`${prefix}ab/${id.slice(2)}`, "sha256")).toBe(id);
  for (const target of [
    "",
    "x",
    `../objects/${id}`,
    `../objects/AB/${id.slice(2)}`,
    `ab/${id.slice(2)}`,
    "../objects/ab/cd",
  ])
    expect(objectOfTarget(target, "sha256"), target).toBeUndefined();
  expect(objectOfTarget(`../objects/ab/${id.slice(2)}`, "sha512")).toBeUndefined();
});

test("links are made with their directories, left alone when right, replaced when not", () => {
  expect(putLink(root, "streams/refs/a/b", "streams/S")).toBe(true);
  expect(readlinkSync(join(root, "streams/refs/a/b"))).toBe("../../S");
  const { ino } = lstatSync(join(root, "streams/refs/a/b"));
  expect(putLink(root, "streams/refs/a/b", "streams/S")).toBe(false);
  expect(lstatSync(join(root, "streams/refs/a/b")).ino).toBe(ino);
  expect(putLink(root, "streams/refs/a/b", "streams/T")).toBe(true);
  expect(readlinkSync(join(root, "streams/refs/a/b"))).toBe("../../T");
  expect(readdirSync(root)).toEqual(["streams"]);
});

test("nothing is left in the root when a link cannot be made", () => {
  mkdirSync(join(root, "streams/refs/a/b"), { recursive: true });
  writeFileSync(join(root, "streams/refs/a/b/file"), "");
  expect(() => putLink(root, "streams/refs/a/b", "streams/S")).toThrowError(/streams\/refs\/a\/b/);
  expect(readdirSync(root)).toEqual(["streams"]);
});

test("a ref below a ref is refused with a sentence", () => {
  putLink(root, "streams/refs/a", "streams/S");
  expect(() => putLink(root, "streams/refs/a/b", "streams/S")).toThrowError(
    expect.objectContaining({ hint: expect.stringContaining("that name already") }),
  );
});

test("directories that are links are not followed out of the repository", () => {
  const outside = mkdtempSync(join(tmpdir(), "composefs-outside-"));
  try {
    symlinkSync(outside, join(root, "streams"));
    expect(() => putLink(root, "streams/refs/x", "streams/S")).toThrowError(/not a directory/);
    symlinkSync("/etc", join(outside, "gone"));
    expect(() => removeLink(root, "streams/gone")).toThrowError(/not a directory/);
    expect(readdirSync(outside)).toEqual(["gone"]);
    rmSync(join(root, "streams"));
    mkdirSync(join(root, "streams"));
    symlinkSync(outside, join(root, "streams/refs"));
    expect(walkLinks(root, "streams")).toEqual([{ name: "refs", target: outside }]);
  } finally {
    rmSync(outside, { recursive: true });
  }
});

test("removing: only links, and only those that exist", () => {
  putLink(root, "images/refs/x", "images/I");
  expect(removeLink(root, "images/refs/x")).toBe(true);
  expect(removeLink(root, "images/refs/x")).toBe(false);
  expect(removeLink(root, "images/nowhere/x")).toBe(false);
  writeFileSync(join(root, "images/refs/file"), "precious");
  expect(() => removeLink(root, "images/refs/file")).toThrowError(/not a symbolic link/);
  expect(existsSync(join(root, "images/refs/file"))).toBe(true);
});

test("listing and walking: sorted, links unread, loops harmless", () => {
  for (const [link, target] of [
    ["refs/b", "x"],
    ["refs/a/z", "loop"],
    ["refs/a/loop", "../a"],
    ["refs/dangling", "../../nowhere"],
    ["S", "t"],
  ] as const) {
    mkdirSync(join(root, "streams", link, ".."), { recursive: true });
    symlinkSync(target, join(root, "streams", link));
  }
  writeFileSync(join(root, "streams/refs/file"), "");
  expect(walkLinks(root, "streams/refs")).toEqual([
    { name: "a/loop", target: "../a" },
    { name: "a/z", target: "loop" },
    { name: "b", target: "x" },
    { name: "dangling", target: "../../nowhere" },
    { name: "file", target: undefined },
  ]);
  expect(listLinks(root, "streams", "refs")).toEqual([{ name: "S", target: "t" }]);
  expect(walkLinks(root, "images/refs")).toEqual([]);
  expect(readLink(root, "streams/refs")).toEqual({ other: true });
  expect(readLink(root, "streams/S/below")).toBeUndefined();
});

test("target paths by their text", () => {
  expect(targetPath("streams/refs/a/b", "../../S")).toBe("streams/S");
  expect(targetPath("streams/refs/a", "../../../etc")).toBeUndefined();
  expect(targetPath("streams/refs/a", "/etc")).toBeUndefined();
  expect(targetPath("streams/refs/a", "../../images/x")).toBe("images/x");
});

describe("names", () => {
  test("of refs", () => {
    for (const name of ["a", "a/b/c", "oci/x%2Fy", "..a", "a..", "é", "x".repeat(255)])
      expect(() => checkRefName(name), name).not.toThrow();
    for (const name of ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "../../../x", "a\0b", "x".repeat(256)])
      expect(() => checkRefName(name), JSON.stringify(name)).toThrowError(expect.objectContaining({ code: "usage" }));
    expect(() => checkRefName("é".repeat(128))).toThrowError(/255 bytes/);
  });

  test("of entries", () => {
    expect(() => checkEntryName("oci-layer-sha256:ab", "content id")).not.toThrow();
    for (const name of ["refs", "a/b", "", "..", "a\0"])
      expect(() => checkEntryName(name, "content id"), name).toThrowError(/content id/);
  });
});
