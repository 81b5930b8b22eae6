// What of an image goes into its boot entry (docs/spec/boot.md, section 10): the names from os-release, and the kernel or UKI.

import { trimWhiteSpace } from "../../bytes/white-space.ts";
import { displayBytes } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { checkBootName } from "../change/steps.ts";
import type { OsRelease } from "../os-release.ts";
import type { BootFile, BootResource } from "../resource.ts";

/** A deployment as its boot entries show it. */
export interface BootDeployment {
  /** Its id: 128 hex digits for bootc. */
  readonly digest: string;
  /** `ID` of os-release. */
  readonly osId: string;
  readonly title: string;
  readonly version: string;
}

/**
 * The names of a deployment with a plain kernel. What os-release does not say, or says as blank, is the digest; the id is `bootc` then.
 *
 * @param release of the image; undefined when it has none
 */
export function describeDeployment(digest: string, release: OsRelease | undefined): BootDeployment {
  const given = (text: string | undefined) => (text === undefined || trimWhiteSpace(text) === "" ? undefined : text);
  return {
    digest,
    osId: given(release?.get("ID")) ?? "bootc",
    title: given(release?.name) ?? digest,
    version: given(release?.version) ?? digest,
  };
}

/** A kernel and its initramfs. */
export interface DeploymentKernel {
  readonly kind: "bls";
  readonly vmlinuz: BootFile;
  readonly initrd: BootFile;
}

/** A UKI and the addons that were asked for. */
export interface DeploymentUki {
  readonly kind: "uki";
  readonly uki: BootFile;
  readonly addons: readonly { readonly name: string; readonly file: BootFile }[];
}

/**
 * What of an image a deployment boots: the kernel if that is found first, else the one UKI.
 *
 * @param wantedAddons names of addons without `.addon.efi`; no others are taken
 * @throws ComposefsError `not-found` (`no-entries`), `invalid` (`no-initramfs`; several UKIs; an addon that is not there), `unsupported`
 *   for an image with a boot entry of its own
 */
export function chooseDeploymentBoot(
  resources: readonly BootResource[],
  wantedAddons: readonly string[] = [],
): DeploymentKernel | DeploymentUki {
  const first = resources.find((one) => one.kind !== "type2" || one.type === "uki");
  if (first === undefined)
    throw new ComposefsError("not-found", "the image has neither a kernel nor a UKI", { reason: "no-entries" });
  if (first.kind === "type1")
    throw new ComposefsError(
      "unsupported",
      `the image has a boot entry of its own, /boot/loader/entries/${displayBytes(first.filename)}`,
      { hint: "deployments boot /usr/lib/modules/VERSION/vmlinuz, or a UKI; remove the entry from the image" },
    );
  if (first.kind === "vmlinuz") {
    if (first.initramfs === undefined)
      throw new ComposefsError("invalid", `the kernel ${first.kernel} has no initramfs.img beside it`, {
        reason: "no-initramfs",
        path: displayBytes(first.vmlinuz.path),
      });
    return { kind: "bls", vmlinuz: first.vmlinuz, initrd: first.initramfs };
  }
  const [uki, second] = resources.filter((one) => one.kind === "type2" && one.type === "uki") as { file: BootFile }[];
  if (uki === undefined || second !== undefined)
    throw new ComposefsError(
      "invalid",
      `the image has more than one UKI: ${displayBytes(first.file.path)} and ${displayBytes(second?.file.path ?? "")}`,
      { hint: "all would get the same name; leave one in the image" },
    );
  if (uki.file.leaf.content.kind === "inline")
    throw new ComposefsError("invalid", `${displayBytes(uki.file.path)} is too small for a UKI`, {
      path: displayBytes(uki.file.path),
      reason: "uki-not-pe",
    });
  const addons = new Map<string, BootFile>();
  for (const one of resources)
    if (one.kind === "type2" && one.type === "addon")
      addons.set(displayBytes(one.relative.split("/").at(-1) ?? ""), one.file);
  return {
    kind: "uki",
    uki: uki.file,
    addons: wantedAddons.map((wanted) => {
      const name = `${wanted}.addon.efi`;
      checkBootName(name, "the addon", "usage");
      const file = addons.get(name);
      if (file === undefined)
        throw new ComposefsError("not-found", `the image has no addon ${name}`, {
          hint: `it has ${[...addons.keys()].join(", ") || "none"}`,
        });
      return { name, file };
    }),
  };
}
