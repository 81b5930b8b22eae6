// The bootable transform of every recorded one-layer image (test/goldens/boot/transform.json), in a repository and of its tree.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { repositoryBodies } from "../../src/boot/boot-directory.ts";
import { bootableTransform } from "../../src/boot/bootable-transform.ts";
import type { FormatVersion } from "../../src/core/erofs.ts";
import { imageId } from "../../src/image/write.ts";
import { computeImageId } from "../../src/oci/compute-id.ts";
import { dumpImage } from "../../src/oci/dump.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { dumpTree } from "../../src/tree/dump.ts";
import { readDump } from "../../src/tree/dump-read.ts";
import { bootTree, directoryAt } from "../fixtures/boot-tree.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { goldensDir } from "../goldens-dir.ts";

type Ids = Record<Algorithm, Record<string, string>>;

interface Case {
  id: string;
  layer: string;
  expect: {
    plain_dump_sha256?: string;
    boot_dump_sha256?: string;
    plain_ids?: Ids;
    boot_ids?: Ids;
    boot_ids_keep_user_xattrs?: Ids;
    error?: string;
    pull_error?: string;
  };
}

const folder = goldensDir("boot");
const { cases } = JSON.parse(readFileSync(join(folder, "transform.json"), "utf8")) as { cases: Case[] };
const work = mkdtempSync(join(tmpdir(), "composefs-transform-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const ALGORITHMS: readonly Algorithm[] = ["sha256", "sha512"];
const VERSIONS: readonly FormatVersion[] = [0, 1, 2];
const recordedText = (name: string | undefined) => readFileSync(join(folder, name ?? ""), "latin1");

it("there are cases of every kind", () => {
  for (const key of ["boot_ids", "boot_ids_keep_user_xattrs", "error", "pull_error"] as const)
    expect(cases.some((recorded) => recorded.expect[key] !== undefined)).toBe(true);
});

describe.each(ALGORITHMS)("%s", (algorithm) => {
  it.each(cases)("$id", async ({ id, layer, expect: expected }) => {
    const path = join(work, `${id}-${algorithm}`);
    const { reference } = writeLayout(join(path, "layout"), "latest", [
      { tar: readFileSync(join(folder, layer)), compression: "none" },
    ]);
    await Repository.init(join(path, "repository"), { algorithm, insecure: true });
    await using repository = await Repository.open(join(path, "repository"), { write: true, durability: "none" });
    const reason = expected.pull_error ?? expected.error;
    if (reason !== undefined) {
      const attempt = pull(repository, reference, { tag: "t", bootable: true });
      await expect(attempt).rejects.toMatchObject({ code: "invalid", reason });
      // Without its boot image the image is there all the same.
      expect(repository.ref("streams", "oci/t") === undefined).toBe(expected.pull_error !== undefined);
      if (expected.pull_error === undefined)
        await expect(computeImageId(repository, "t", { bootable: true })).rejects.toMatchObject({ reason });
      return;
    }
    await pull(repository, reference, { tag: "t" });
    for (const version of VERSIONS) {
      const ids = (name: "plain_ids" | "boot_ids" | "boot_ids_keep_user_xattrs") =>
        expected[name]?.[algorithm][`v${version}`];
      expect(await computeImageId(repository, "t", { version })).toBe(ids("plain_ids"));
      expect(await computeImageId(repository, "t", { version, bootable: true })).toBe(ids("boot_ids"));
      expect(await computeImageId(repository, "t", { version, bootable: true, xattrs: "keep-user-xattrs" })).toBe(
        ids("boot_ids_keep_user_xattrs") ?? ids("boot_ids"),
      );
    }
    if (algorithm === "sha512") return;
    expect([...(await dumpImage(repository, "t"))].join("")).toBe(recordedText(expected.plain_dump_sha256));
    const dump = [...(await dumpImage(repository, "t", { bootable: true }))].join("");
    expect(dump).toBe(recordedText(expected.boot_dump_sha256));
    const again = readDump([Buffer.from(dump, "latin1")], { algorithm });
    await bootableTransform(again, { readFile: repositoryBodies(repository) });
    expect([...dumpTree(again)].join("")).toBe(dump);
    for (const version of VERSIONS)
      expect(imageId(again, { version, algorithm, dialect: "rs" }).id).toBe(
        expected.boot_ids?.[algorithm][`v${version}`],
      );
  });
});

it.each(["seconds", "nanoseconds"] as const)("the emptied directories take the %s of /usr", async (mtimes) => {
  const root = bootTree(["usr", "boot", "sysroot"].map((p) => ({ p, t: "d" })));
  const [usr, boot, sysroot] = ["usr", "boot", "sysroot"].map((name) => directoryAt(root, name));
  for (const [node, mtimeSec, mtimeNsec] of [
    [usr, 3n, 33],
    [boot, 1n, 11],
    [sysroot, 2n, 0],
  ] as const)
    if (node !== undefined) node.stat = { ...node.stat, mtimeSec, mtimeNsec };
  await bootableTransform(root, { readFile: () => new Uint8Array(), ...(mtimes === "seconds" ? {} : { mtimes }) });
  const [first, second] = mtimes === "seconds" ? [11, 0] : [33, 33];
  expect(boot?.stat).toMatchObject({ mtimeSec: 3n, mtimeNsec: first });
  expect(sysroot?.stat).toMatchObject({ mtimeSec: 3n, mtimeNsec: second });
});

describe("a broken policy", () => {
  const recorded = cases.find(({ id }) => id === "bad-policy") as Case;
  const error = {
    reason: "selinux-bad-regex",
    path: expect.stringMatching(/^\/etc\/selinux\/.*file_contexts$/) as string,
    line: expect.any(Number) as number,
  };

  it("is named with file and line by a pull", async () => {
    const { reference } = writeLayout(join(work, "bad"), "latest", [
      { tar: readFileSync(join(folder, recorded.layer)), compression: "none" },
    ]);
    await Repository.init(join(work, "bad-repository"), { insecure: true });
    await using repository = await Repository.open(join(work, "bad-repository"), { write: true, durability: "none" });
    await expect(pull(repository, reference, { tag: "t", bootable: true })).rejects.toMatchObject({
      ...error,
      message: expect.stringMatching(
        /pulled and tagged t, but has no boot image: .*file_contexts, line \d+: /,
      ) as string,
    });
  });

  it("leaves the tree as it was", async () => {
    const root = bootTree([
      { p: "/usr", t: "d" },
      { p: "/boot/k", t: "f" },
      { p: "/sysroot", t: "d" },
      { p: "/etc/selinux/config", t: "f", c: "SELINUXTYPE=t\n" },
      { p: "/etc/selinux/t/contexts/files/file_contexts", t: "f", c: "/.* u:x\n/a( u:a\n" },
    ]);
    const before = [...dumpTree(root)];
    const readFile = () => new Uint8Array();
    await expect(bootableTransform(root, { readFile })).rejects.toMatchObject({ ...error, line: 2 });
    expect([...dumpTree(root)]).toEqual(before);
  });
});
