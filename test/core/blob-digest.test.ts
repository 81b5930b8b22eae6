import { createHash } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { chooseBackend } from "../../src/core/backend.ts";
import { type BlobAlgorithm, blobHasher } from "../../src/core/blob-digest.ts";

afterEach(() => chooseBackend(undefined));

const ALGORITHMS: BlobAlgorithm[] = ["sha256", "sha384", "sha512"];
const data = Buffer.alloc(300_001, "composefs ");

describe.each(["native", "wasm"] as const)("%s", (choice) => {
  test.each(ALGORITHMS)("%s of nothing and of data in pieces, two at once", async (algorithm) => {
    chooseBackend(choice);
    const [empty, hasher, other] = await Promise.all([1, 2, 3].map(() => blobHasher(algorithm)));
    for (let at = 0; at < data.length; at += 77_777) {
      hasher!.update(data.subarray(at, at + 77_777));
      other!.update(Buffer.alloc(1000, at));
    }
    expect(hasher!.digest("hex")).toBe(createHash(algorithm).update(data).digest("hex"));
    expect(empty!.digest("hex")).toBe(createHash(algorithm).digest("hex"));
    expect(other!.digest("hex")).not.toBe(createHash(algorithm).update(data).digest("hex"));
  });
});

test("FIPS 180-4 examples by the portable hash", async () => {
  chooseBackend("wasm");
  const abc = async (algorithm: BlobAlgorithm): Promise<string> => {
    const hasher = await blobHasher(algorithm);
    hasher.update(Buffer.from("abc"));
    return hasher.digest("hex");
  };
  expect(await abc("sha256")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(await abc("sha384")).toMatch(/^cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163/);
  expect(await abc("sha512")).toMatch(/^ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2/);
});
