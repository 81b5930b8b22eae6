import { describe, expect, it } from "vitest";

import {
  chooseCandidate,
  formatPlatform,
  parsePlatform,
  platformRank,
  type Candidate,
  type Platform,
} from "../../src/oci/platform.ts";

const AMD64: Platform = { os: "linux", architecture: "amd64" };

function candidate(platform: string | undefined, digest: string, name?: string): Candidate {
  return { platform: platform === undefined ? undefined : parsePlatform(platform), digest, name };
}

function chosen(candidates: Candidate[], wanted: Platform): string | undefined {
  const choice = chooseCandidate(candidates, wanted);
  return choice.kind === "chosen" ? choice.candidate.digest : undefined;
}

describe("platforms", () => {
  it.each(["linux/amd64", "linux/arm64/v8"])("parses and formats %s", (text) => {
    expect(formatPlatform(parsePlatform(text))).toBe(text);
  });

  it.each(["", "linux", "/amd64", "linux/", "linux/arm/", "a/b/c/d"])("refuses %j", (text) => {
    expect(() => parsePlatform(text)).toThrowError(expect.objectContaining({ code: "usage" }));
  });

  it("never matches attestations", () => {
    expect(platformRank(parsePlatform("unknown/unknown"), parsePlatform("unknown/unknown"))).toBeUndefined();
    expect(chosen([candidate("unknown/unknown", "a"), candidate("linux/amd64", "b")], AMD64)).toBe("b");
  });

  it("prefers the base variant to a list order that names a newer one first", () => {
    expect(chosen([candidate("linux/amd64/v3", "v3"), candidate("linux/amd64", "base")], AMD64)).toBe("base");
    expect(chosen([candidate("linux/amd64/v3", "v3"), candidate("linux/amd64/v1", "v1")], AMD64)).toBe("v1");
    expect(chosen([candidate("linux/amd64/v3", "v3")], AMD64)).toBe("v3");
    const arm = parsePlatform("linux/arm");
    expect(chosen([candidate("linux/arm/v5", "v5"), candidate("linux/arm/v7", "v7")], arm)).toBe("v7");
    expect(chosen([candidate("linux/arm", "none"), candidate("linux/arm/v5", "v5")], arm)).toBe("v5");
  });

  it("takes the first of equals", () => {
    expect(chosen([candidate("linux/amd64", "a"), candidate("linux/amd64", "b")], AMD64)).toBe("a");
  });

  it("wants exactly the variant that was asked for, where none means the base", () => {
    const list = [candidate("linux/arm64", "base"), candidate("linux/arm64/v9", "v9")];
    expect(chosen(list, parsePlatform("linux/arm64/v9"))).toBe("v9");
    expect(chosen(list, parsePlatform("linux/arm64/v8"))).toBe("base");
    expect(chosen(list, parsePlatform("linux/arm64/v7"))).toBeUndefined();
    expect(chosen([candidate("linux/arm", "none")], parsePlatform("linux/arm/v6"))).toBeUndefined();
  });

  it("accepts a single candidate without a platform, and no choice among several", () => {
    expect(chosen([candidate(undefined, "a")], AMD64)).toBe("a");
    expect(chooseCandidate([candidate(undefined, "a"), candidate(undefined, "b")], AMD64).kind).toBe("none");
  });

  it("finds several names ambiguous unless they are the same image", () => {
    const two = [candidate("linux/amd64", "a", "one"), candidate("linux/amd64", "b", "two")];
    expect(chooseCandidate(two, AMD64)).toEqual({ kind: "ambiguous", names: ["one", "two"] });
    expect(chosen([candidate("linux/amd64", "a", "one"), candidate("linux/amd64", "a", "two")], AMD64)).toBe("a");
    expect(chosen([candidate("linux/arm64", "x", "one"), candidate("linux/amd64", "b", "two")], AMD64)).toBe("b");
    const artifacts = [candidate(undefined, "a", "one"), candidate(undefined, "b", "two")];
    expect(chooseCandidate(artifacts, AMD64).kind).toBe("ambiguous");
  });

  it("lists what there is when nothing matches", () => {
    const choice = chooseCandidate([candidate("linux/s390x", "a"), candidate("linux/s390x", "b")], AMD64);
    expect(choice).toEqual({ kind: "none", available: ["linux/s390x"] });
  });
});
