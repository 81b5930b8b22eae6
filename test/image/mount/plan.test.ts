// What is mounted on which kernel, as data.

import { describe, expect, it } from "vitest";
import { escapeLayer, type MountRequest, parseKernelVersion, planOverlay } from "../../../src/image/mount/plan.ts";

const request: MountRequest = {
  source: "composefs:ab",
  version: 1,
  objects: ["/r/objects"],
  verity: false,
  readWrite: false,
};
const plan = (changes: Partial<MountRequest>, release: string) =>
  planOverlay({ ...request, ...changes }, "/e", parseKernelVersion(release));

describe("the overlay", () => {
  it("has the objects as a layer of data only, on old kernels as an ordinary one", () => {
    expect(plan({}, "6.18.44-cloud")).toEqual({
      source: "composefs:ab",
      readOnly: true,
      options: [
        ["metacopy", "on"],
        ["redirect_dir", "on"],
        ["lowerdir", "/e::/r/objects"],
      ],
    });
    expect(plan({}, "6.5").options[2]).toEqual(["lowerdir", "/e::/r/objects"]);
    expect(plan({}, "6.4.9").options[2]).toEqual(["lowerdir", "/e:/r/objects"]);
    expect(() => plan({ version: 2 }, "6.4.9")).toThrow("an image of format 2 needs Linux 6.5; this is 6.4");
  });

  it("requires fs-verity where the kernel can, else fails", () => {
    expect(plan({ verity: true }, "6.6").options.at(-1)).toEqual(["verity", "require"]);
    expect(plan({ verity: true }, "10.0").options.at(-1)).toEqual(["verity", "require"]);
    expect(() => plan({ verity: true }, "6.5")).toThrow(
      expect.objectContaining({
        code: "unsupported",
        message: "checking fs-verity through overlayfs needs Linux 6.6; this is 6.5",
        hint: expect.stringMatching(/6\.6 or later, or .*--insecure/) as string,
      }),
    );
  });

  it("is read-only also with a layer for changes, unless they are wanted", () => {
    const upper = { upperdir: "/a\\b", workdir: "/w" };
    expect(plan({ upper }, "6.18")).toMatchObject({ readOnly: true });
    const changed = plan({ upper, readWrite: true }, "6.18");
    expect(changed.readOnly).toBe(false);
    expect(changed.options.slice(3)).toEqual([
      ["upperdir", "/a\\\\b"],
      ["workdir", "/w"],
    ]);
    expect(() => plan({ readWrite: true }, "6.18")).toThrow("needs a directory for the changes");
  });

  it("tries fs-verity only where the kernel can, if that is enough", () => {
    const verity = "if-possible";
    expect(plan({ verity }, "6.6").options.at(-1)).toEqual(["verity", "require"]);
    expect(plan({ verity }, "6.5").options.at(-1)?.[0]).toBe("lowerdir");
  });

  it("searches several directories in their order", () => {
    const objects = ["/one", "/t:wo", "/three"];
    expect(plan({ objects }, "6.18").options[2]).toEqual(["lowerdir", "/e::/one::/t\\:wo::/three"]);
    expect(plan({ objects }, "6.4").options[2]).toEqual(["lowerdir", "/e:/one:/t\\:wo:/three"]);
  });

  it("escapes what separates layers", () => {
    expect(escapeLayer("/a:b\\c,d")).toBe("/a\\:b\\\\c,d");
  });
});
