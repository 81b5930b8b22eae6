// The digest that seal puts on the command line is the recorded boot id, for every recorded image that has one.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Algorithm } from "../../src/bytes/algorithm.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { planSeal } from "../../src/seal/seal.ts";
import { KERNEL } from "../fixtures/sealable.ts";
import { makeStub } from "../fixtures/stub.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "../oci/golden-layouts.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const bootable = goldenImages.filter(({ image_ids: ids }) => ids?.sha512["v2.boot"] !== undefined);

/** One format each, so that every column is looked at without sealing each image eight times. */
const VARIANTS: readonly [Algorithm, 1 | 2][] = [
  ["sha512", 2],
  ["sha256", 1],
];

describe("recorded images", () => {
  let work: string;
  const layouts = new Map<string, string>();
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), "seal-goldens-"));
    writeFileSync(join(work, "kernel"), KERNEL);
    writeFileSync(join(work, "stub"), makeStub());
    for (const { layout } of bootable) if (!layouts.has(layout)) layouts.set(layout, unpackLayout(layout, work));
  });
  afterAll(() => rmSync(work, { recursive: true }));

  it("are there", () => expect(bootable.length).toBeGreaterThan(3));

  it.each(bootable.flatMap((image) => VARIANTS.map(([algorithm, version]) => ({ image, algorithm, version }))))(
    "$image.name:$image.tag has its boot id, $algorithm and V$version",
    async ({ image, algorithm, version }) => {
      const ids = image.image_ids?.[algorithm] as Record<string, string>;
      const directory = layouts.get(image.layout) as string;
      for (const xattrs of ["allowlist-only", "keep-user-xattrs"] as const) {
        const suffix = xattrs === "allowlist-only" ? "" : `.${xattrs}`;
        const expected = ids[`v${version}.boot${suffix}`];
        if (expected === undefined) continue;
        const kernel = join(work, "kernel");
        const plan = await planSeal(
          { kind: "reference", reference: `oci:${directory}:${image.tag}` },
          {
            algorithm,
            version,
            xattrs,
            kernel,
            initramfs: [kernel],
            kernelVersion: "x",
            stub: join(work, "stub"),
            platform: parsePlatform("linux/amd64"),
            temporaryDirectory: work,
          },
        );
        expect(plan.bootId).toBe(expected);
        expect(plan.commandLine).toContain(expected);
      }
    },
  );
});
