// The judge of the crash suite, judged: a whole repository has no problems, and each kind of damage is seen.

import {
  cpSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auditRepository } from "../fixtures/repository-audit.ts";
import { type CrashSetup, crashSetup, newRepository, pullImage } from "./setup.ts";

function someObject(repository: string): { path: string; id: string } {
  const folder = readdirSync(join(repository, "objects")).find((name) => /^[0-9a-f]{2}$/.test(name)) ?? "";
  const [rest = ""] = readdirSync(join(repository, "objects", folder));
  return { path: join(repository, "objects", folder, rest), id: folder + rest };
}

describe("the audit of a repository", () => {
  let setup: CrashSetup;
  let whole: string;

  beforeAll(() => {
    setup = crashSetup();
    whole = newRepository(join(setup.folder, "whole"));
    pullImage(whole, setup.first, "image");
  });
  afterAll(() => setup?.[Symbol.dispose]());

  const damaged = (damage: (repository: string) => void) => {
    const copy = join(setup.folder, "damaged");
    cpSync(whole, copy, { recursive: true, verbatimSymlinks: true });
    try {
      damage(copy);
      return auditRepository(copy).problems.join("\n");
    } finally {
      rmSync(copy, { recursive: true });
    }
  };
  it("finds nothing after a pull", () => {
    const audit = auditRepository(whole);
    expect(audit.problems).toEqual([]);
    expect(audit.temporary).toEqual([]);
    expect(audit.tags).toEqual(["image"]);
    expect(audit.streams).toHaveLength(5);
    expect(audit.images).toEqual([setup.undisturbed.first.id]);
    expect(audit.objects).toBeGreaterThan(900);
  });

  it("sees a missing object", () => {
    expect(damaged((repository) => unlinkSync(someObject(repository).path))).toMatch(/needs the object|is not there/);
  });

  it("sees a truncated object", () => {
    expect(damaged((repository) => truncateSync(someObject(repository).path, 10))).toMatch(/has the content of/);
  });

  it("sees a changed object", () => {
    expect(
      damaged((repository) => {
        const { path } = someObject(repository);
        const content = readFileSync(path);
        content[0] = (content[0] ?? 0) ^ 1;
        writeFileSync(path, content);
      }),
    ).toMatch(/has the content of/);
  });

  it("sees a tag of a manifest that is not there", () => {
    expect(
      damaged((repository) => {
        symlinkSync(`../../oci-manifest-sha256:${"0".repeat(64)}`, join(repository, "streams/refs/oci/nothing"));
      }),
    ).toMatch(/which is not there/);
  });

  it.each(["oci-config", "oci-layer", "oci-manifest"])("sees a missing link of an %s stream", (kind) => {
    expect(
      damaged((repository) => {
        const name = readdirSync(join(repository, "streams")).find((stream) => stream.startsWith(kind)) ?? "";
        unlinkSync(join(repository, "streams", name));
      }),
    ).not.toBe("");
  });

  it("sees a missing link of an image", () => {
    expect(damaged((repository) => unlinkSync(join(repository, "images", setup.undisturbed.first.id)))).toMatch(
      /has no link/,
    );
  });

  it("sees a stream under the wrong name", () => {
    expect(
      damaged((repository) => {
        const streams = readdirSync(join(repository, "streams")).filter((name) => name.startsWith("oci-layer"));
        const [one = "", two = ""] = streams;
        cpSync(join(repository, "streams", two), join(repository, "streams", one), {
          force: true,
          verbatimSymlinks: true,
        });
      }),
    ).toMatch(/has the content of sha256/);
  });
});
