import { readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { isDigest } from "../../src/oci/digest.ts";
import { layoutNameSplits, parseReference, parseRegistryName, splitLayoutName } from "../../src/oci/reference.ts";
import { checkTag, decodeTag } from "../../src/oci/tag-name.ts";
import { goldensDir } from "../goldens-dir.ts";

interface Refs {
  transport_errors: { ref: string }[];
  oci_path_split: { name: string; path: string; tag: string | null }[];
  tag_encoding: { tag: string; exit: number; file: string | null; listed_as?: string }[];
  tag_decoding: { file: string; tag: string }[];
  digest_syntax: { digest: string; valid: boolean }[];
}

const refs = JSON.parse(readFileSync(join(goldensDir("oci"), "refs.json"), "utf8")) as Refs;

function failure(action: () => unknown): ComposefsError {
  try {
    action();
  } catch (error) {
    if (error instanceof ComposefsError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("references", () => {
  it.each(refs.transport_errors)("refuses $ref with a hint that lists transports or the remedy", ({ ref }) => {
    const error = failure(() => parseReference(ref));
    expect(error.code).toBe("invalid");
    expect(error.message).toContain(JSON.stringify(ref));
    expect(error.hint).toBeTruthy();
  });

  it.each(refs.oci_path_split)("splits $name as recorded", ({ name, path, tag }) => {
    expect(splitLayoutName(name)).toEqual({ path, tag: tag ?? undefined });
    expect(parseReference(`oci:${name}`)).toMatchObject({ transport: "oci", name });
  });

  it("offers the other splits after the textual one", () => {
    expect(layoutNameSplits("d:localhost/os:1")).toEqual([
      { path: "d:localhost/os", tag: "1" },
      { path: "d", tag: "localhost/os:1" },
      { path: "d:localhost/os:1", tag: undefined },
    ]);
  });

  it("proposes docker:// for a bare image name", () => {
    expect(failure(() => parseReference("quay.io/foo:bar")).hint).toContain("docker://quay.io/foo:bar");
  });

  const names: [string, string, string, string | undefined][] = [
    ["foo", "docker.io", "library/foo", "latest"],
    ["foo:1", "docker.io", "library/foo", "1"],
    ["a/b", "docker.io", "a/b", "latest"],
    ["a/b/c/d:t", "docker.io", "a/b/c/d", "t"],
    ["index.docker.io/foo", "docker.io", "library/foo", "latest"],
    ["localhost/x", "localhost", "x", "latest"],
    ["localhost:5000/x:y", "localhost:5000", "x", "y"],
    ["h.example/a__b-c.d/e:T_1.-", "h.example", "a__b-c.d/e", "T_1.-"],
  ];
  it.each(names)("completes %s", (name, domain, path, tag) => {
    expect(parseRegistryName(name)).toMatchObject({ domain, path, tag });
  });

  it("goes by the digest when there are tag and digest", () => {
    const digest = `sha256:${"a".repeat(64)}`;
    expect(parseRegistryName(`quay.io/a/b:t@${digest}`)).toMatchObject({ tag: undefined, digest });
    expect(parseRegistryName(`foo`).host).toBe("registry-1.docker.io");
  });

  it.each(["Foo", "a//b", "a/", "-a", "foo:", "foo:.x", "foo@sha256:1", "h_x.y/a", `${"a/".repeat(127)}abc`])(
    "refuses the name %s",
    (name) => {
      expect(failure(() => parseRegistryName(name)).code).toBe("invalid");
    },
  );

  it("says that names are lower case", () => {
    expect(failure(() => parseReference("docker://quay.io/Foo/Bar")).hint).toContain("quay.io/foo/bar");
  });
});

describe("tags", () => {
  it.each(refs.tag_encoding)("encodes $tag as recorded", ({ tag, file, listed_as }) => {
    if (file === null) {
      const error = failure(() => checkTag(tag));
      expect(error.code).toBe("invalid");
      expect(error.hint).toBeTruthy();
    } else {
      expect(checkTag(tag)).toBe(file);
      expect(decodeTag(file)).toBe(listed_as);
    }
  });

  it.each(refs.tag_decoding)("decodes $file as recorded", ({ file, tag }) => {
    expect(decodeTag(file)).toBe(tag);
  });
});

describe("digests", () => {
  it.each(refs.digest_syntax)("judges $digest as recorded", ({ digest, valid }) => {
    expect(isDigest(digest)).toBe(valid);
  });
});
