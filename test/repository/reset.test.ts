// Beginning anew over the objects that are there: what goes, what stays, who is asked, and who is waited for.

import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkRepository } from "../../src/repository/fsck/fsck.ts";
import { Repository } from "../../src/repository/repository.ts";
import { planReset, resetMetadata } from "../../src/repository/reset.ts";
import { SplitstreamWriter } from "../../src/splitstream/write.ts";

let scratch = "";
let path = "";
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "composefs-reset-"));
  path = join(scratch, "repo");
  await Repository.init(path, { insecure: true, algorithm: "sha256" });
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** Two streams, one of them named; one object. */
async function fill(): Promise<string> {
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  const { id } = await repository.putObject(Buffer.from("content"));
  for (const name of ["oci-layer-sha256:a", "oci-layer-sha256:b"]) {
    const writer = new SplitstreamWriter("sha256", "ocilayer");
    writer.inline(Buffer.from(name));
    await repository.putStream(name, writer);
  }
  repository.setRef("streams", "oci/os:v1", "oci-layer-sha256:a");
  return id;
}

test("removes every name and keeps every object of the same algorithm", async () => {
  const id = await fill();
  const plan = planReset(path);
  expect(plan).toMatchObject({ images: [], objects: [], foreign: [] });
  expect(plan.streams.toSorted()).toEqual(["oci-layer-sha256:a", "oci-layer-sha256:b", "refs/oci/os:v1"]);
  expect(existsSync(join(path, "streams/refs/oci"))).toBe(true);
  const result = await resetMetadata(path, { insecure: true });
  expect(result).toMatchObject({ state: "reset", algorithm: "sha256", secure: false, plan });
  expect(readdirSync(path).toSorted()).toEqual(["meta.json", "objects"]);
  await using repository = await Repository.open(path, { write: true });
  expect(repository.hasObject(id)).toBe(true);
  expect((await checkRepository(repository)).ok).toBe(true);
});

test("for another algorithm removes the objects that it cannot name", async () => {
  const id = await fill();
  const { plan } = await resetMetadata(path, { insecure: true, algorithm: "sha512", erofsVersion: 2 });
  expect(plan?.objects).toHaveLength(3);
  expect(plan?.objects).toContain(`objects/${id.slice(0, 2)}/${id.slice(2)}`);
  await using repository = await Repository.open(path);
  expect([repository.algorithm, repository.formats]).toEqual(["sha512", [2]]);
  expect((await checkRepository(repository)).findings).toEqual([]);
  expect(planReset(path, { algorithm: "sha512" }).objects).toEqual([]);
});

test("asks first, with the plan; without agreement nothing changes", async () => {
  await fill();
  const before = readFileSync(join(path, "meta.json"));
  let asked = 0;
  const declined = await resetMetadata(path, {
    insecure: true,
    algorithm: "sha512",
    confirm: ({ streams, objects }) => {
      asked = streams.length + objects.length;
      return false;
    },
  });
  expect([declined.state, asked]).toEqual(["declined", 6]);
  await expect(
    resetMetadata(path, {
      insecure: true,
      confirm: () => {
        throw new Error("nobody there");
      },
    }),
  ).rejects.toThrow("nobody there");
  expect(readFileSync(join(path, "meta.json"))).toEqual(before);
  await using repository = await Repository.open(path);
  expect(repository.refs("streams")).toHaveLength(1);
});

test("repairs a meta.json that cannot be read", async () => {
  await fill();
  writeFileSync(join(path, "meta.json"), "{");
  expect((await resetMetadata(path, { insecure: true })).algorithm).toBe("sha256");
  await using repository = await Repository.open(path);
  expect(repository.hasMeta).toBe(true);
});

test("never touches what is not a repository, nor what it does not own", async () => {
  const pictures = join(scratch, "pictures");
  mkdirSync(join(pictures, "images"), { recursive: true });
  writeFileSync(join(pictures, "images/cat.jpg"), "");
  await expect(resetMetadata(pictures, { insecure: true })).rejects.toMatchObject({ code: "not-a-repository" });
  expect(existsSync(join(pictures, "images/cat.jpg"))).toBe(true);

  await fill();
  mkdirSync(join(path, "streams/refs/mine"), { recursive: true });
  writeFileSync(join(path, "streams/refs/mine/notes"), "");
  symlinkSync(scratch, join(path, "streams/refs/away"));
  const { plan } = await resetMetadata(path, { insecure: true });
  expect(plan?.foreign).toEqual(["streams/refs/mine/notes"]);
  expect(readdirSync(join(path, "streams/refs"))).toEqual(["mine"]);
  expect(existsSync(pictures)).toBe(true);
});

test("makes a repository where there is none", async () => {
  const fresh = join(scratch, "fresh");
  expect((await resetMetadata(fresh, { insecure: true })).state).toBe("created");
  mkdirSync(join(scratch, "empty"));
  expect((await resetMetadata(join(scratch, "empty"), { insecure: true })).state).toBe("created");
});

test("waits for other users, and says who they are", async () => {
  {
    await using _open = await Repository.open(path);
    await expect(resetMetadata(path, { insecure: true })).rejects.toMatchObject({ code: "locked" });
  }
  const other = spawn("flock", ["-s", path, "sh", "-c", "echo held; read line"], { stdio: ["pipe", "pipe", "ignore"] });
  await once(other.stdout, "data");
  await expect(resetMetadata(path, { insecure: true, lock: { timeoutMs: 0 } })).rejects.toMatchObject({
    code: "locked",
  });
  let holders: readonly { pid: number; command: string }[] = [];
  const waiting = resetMetadata(path, {
    insecure: true,
    lock: {
      onWait: (found) => {
        holders = found;
        other.stdin.end("\n");
      },
    },
  });
  expect((await waiting).state).toBe("reset");
  expect(holders.map(({ pid }) => pid)).toContain(other.pid);
});
