// The application images that an image of a system names (docs/spec/deployments.md, section 7).

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

import { boundImages } from "../../src/deploy/unified/bound-images.ts";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import type { TarEntry } from "../fixtures/tar.ts";
import { hostLayout } from "./host-images.ts";

let work: string;
let repository: Repository;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "composefs-bound-"));
  await Repository.init(join(work, "repository"), { algorithm: "sha256", insecure: true });
  repository = await Repository.open(join(work, "repository"), { write: true, durability: "none" });
});
afterAll(async () => {
  await repository.close();
  rmSync(work, { recursive: true, force: true });
});

let count = 0;
async function bound(units: Readonly<Record<string, string>>, more: readonly TarEntry[] = []): Promise<string[]> {
  const folder = join(work, `layout-${count++}`);
  const directory = "usr/lib/bootc/bound-images.d/";
  const entries = Object.entries(units).flatMap(([name, text]): TarEntry[] => [
    { path: `usr/share/${name}`, content: Buffer.from(text) },
    { path: directory + name, type: "symlink", target: `../../../share/${name}` },
  ]);
  hostLayout(folder, {
    version: String(count),
    more: [{ path: "usr/share/", type: "directory" }, { path: directory, type: "directory" }, ...entries, ...more],
  });
  const { bootImages } = await pull(repository, `oci:${folder}`, { bootable: true, tag: `t${count}` });
  return boundImages(repository, bootImages[0]?.id ?? "");
}

test("units of both kinds name images, in their own section", async () => {
  const units = {
    "a.image": "# Image=no\n[Unit]\nImage=no\n[Image]\nImage = h.example/a:1\n",
    "b.container": "[Container]\nImage=h.example/b@sha256:1\nExec=x\n[Image]\nImage=no\n",
  };
  expect((await bound(units)).sort((a, b) => (a < b ? -1 : 1))).toEqual(["h.example/a:1", "h.example/b@sha256:1"]);
  expect(await bound({})).toEqual([]);
});

test.each([
  [{ "a.image": "[Image]\nImage=x\nAuthFile=/etc/auth\n" }, "bound-images.d/a.image has an AuthFile"],
  [{ "a.image": "[Container]\nImage=x\n" }, "bound-images.d/a.image names no image in [Image]"],
  [{ "a.image": "[Image]\nImage=x:%i\n" }, "bound-images.d/a.image names no image in [Image]"],
  [{ "a.service": "[Image]\nImage=x\n" }, "bound-images.d/a.service is no symbolic link that ends in .image"],
])("%j is refused", async (units, message) => {
  await expect(bound(units)).rejects.toThrow(message);
});

test("a file in the place of a link, and a link that leads nowhere, are refused", async () => {
  const path = "usr/lib/bootc/bound-images.d/x.image";
  await expect(bound({}, [{ path, content: Buffer.from("[Image]\nImage=x\n") }])).rejects.toThrow(
    "is no symbolic link",
  );
  await expect(bound({}, [{ path, type: "symlink", target: "/none" }])).rejects.toThrow("does not exist");
});
