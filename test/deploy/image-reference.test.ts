// References of images against the goldens, and what must hold for any text.

import { array, assert, constantFrom, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { parseImageName, storageImageName } from "../../src/deploy/image-name.ts";
import {
  canonicalReference,
  displayReference,
  type HostImage,
  originReference,
  parseHostImage,
  parseSwitchTarget,
  pullReference,
  referenceWithTag,
  sameReference,
  shortReference,
  storageReference,
} from "../../src/deploy/image-reference.ts";
import { deployCases, outcome } from "./deploy-goldens.ts";

type Input = string | { transport: string; target: string } | { image: HostImage; tag: string };

test.each(deployCases<Input>("imgref"))("golden: $name", ({ op, input, expect: expected }) => {
  const result = outcome(() => {
    if (op === "switch-target") {
      const { target, transport } = input as { target: string; transport: string };
      const spec = parseSwitchTarget(target, transport);
      return { spec, originValue: originReference(spec) };
    }
    if (op === "with-tag") {
      const { image, tag } = input as { image: HostImage; tag: string };
      return referenceWithTag(image, tag);
    }
    if (op !== "parse-origin-ref") throw new Error(`unknown operation ${op}`);
    const spec = parseHostImage(input as string);
    const canonical = outcome(() => canonicalReference(spec));
    return {
      spec,
      pull: pullReference(spec),
      display: displayReference(spec),
      short: shortReference(spec),
      transportImage: storageReference(spec),
      ...(typeof canonical === "string" ? { canonicalImage: canonical } : { canonicalError: canonical.error }),
    };
  });
  expect(result).toEqual(expected);
});

test("what is written into an origin is read back", () => {
  const signature = constantFrom<HostImage["signature"]>(undefined, "containerPolicy", { ostreeRemote: "r" });
  const transport = constantFrom<HostImage["transport"]>(
    "registry",
    "oci",
    "dir",
    "containers-storage",
    "docker-daemon",
  );
  assert(
    property(string({ minLength: 1 }), transport, signature, (image, where, how) => {
      const reference: HostImage =
        how === undefined ? { image, transport: where } : { image, transport: where, signature: how };
      expect(parseHostImage(originReference(reference))).toEqual(reference);
      expect(parseHostImage(displayReference(reference))).toEqual(reference);
      expect(sameReference(reference, { ...reference })).toBe(true);
      expect(sameReference(reference, { ...reference, image: `${image}x` })).toBe(false);
    }),
  );
});

test("any text gives a reference or one of the documented errors", () => {
  const part = constantFrom(
    "ostree-",
    "unverified-",
    "image",
    "registry",
    ":",
    "/",
    "//",
    "docker",
    "remote-",
    "oci",
    "signed",
    "x",
  );
  assert(
    property(array(part, { maxLength: 10 }), (parts) => {
      const result = outcome(() => parseHostImage(parts.join("")));
      if ("error" in result)
        expect(result.error).toMatch(/^E_IMGREF_(NO_COLON|SCHEME|DOCKER_SLASHES|TRANSPORT|EMPTY_NAME)$/);
      else expect(result.image).not.toBe("");
    }),
    { numRuns: 5000 },
  );
  const errors = ["ostree-unverified-image:", "ostree-unverified-image:docker", "ostree-remote-image:r:docker:"];
  expect(errors.map((text) => outcome(() => parseHostImage(text)))).toEqual([
    { error: "E_IMGREF_NO_COLON" },
    { error: "E_IMGREF_NO_COLON" },
    { error: "E_IMGREF_DOCKER_SLASHES" },
  ]);
});

test("transports of a switch", () => {
  expect(parseSwitchTarget("quay.io/x", "docker://")).toEqual({ image: "quay.io/x", transport: "registry" });
  expect(parseSwitchTarget("quay.io/x")).toEqual({ image: "quay.io/x", transport: "registry" });
  for (const transport of ["docker", "docker:", "oci::", ""])
    expect(outcome(() => parseSwitchTarget("x", transport))).toEqual({ error: "E_IMGREF_TRANSPORT" });
  expect(outcome(() => parseSwitchTarget("oci:/x", "oci"))).toEqual({ error: "E_IMGREF_NESTED_TRANSPORT" });
});

describe("names on registries", () => {
  const digest = `sha256:${"a".repeat(64)}`;
  test("are taken apart without being completed", () => {
    expect(parseImageName("os")).toEqual({ repository: "os", tag: undefined, digest: undefined });
    expect(parseImageName(`localhost:5000/a__b/c--d:1@${digest}`)).toEqual({
      repository: "localhost:5000/a__b/c--d",
      tag: "1",
      digest,
    });
    for (const bad of [
      "",
      "A",
      "a//b",
      "a:",
      "a@",
      "a@sha256:1",
      "a@md5:11",
      "-.x/a",
      "x./a",
      "a.b:x/c",
      `a:${"t".repeat(129)}`,
      "p".repeat(256),
    ])
      expect(parseImageName(bad), bad).toBeUndefined();
    expect(parseImageName(`h.x/${"p".repeat(255)}`)).toBeDefined();
  });

  test("are completed for container storages", () => {
    expect(storageImageName("localhost/os")).toBe("localhost/os:latest");
    expect(storageImageName("localhost/os:1")).toBe("localhost/os:1");
    expect(storageImageName(`localhost/os:1@${digest}`)).toBe(`localhost/os@${digest}`);
    expect(storageImageName("Not A Name")).toBe("Not A Name");
  });

  test("take no time that grows faster than the text", () => {
    const begin = performance.now();
    expect(parseImageName(`x.y/${"a-".repeat(100)}!`)).toBeUndefined();
    expect(parseImageName(`${"a-".repeat(200_000)}!.x/a`)).toBeUndefined();
    expect(performance.now() - begin).toBeLessThan(2000);
  });
});
