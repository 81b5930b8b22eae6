// What `deploy install`, `upgrade`, `switch` and `finalize` have in common (docs/spec/deployments.md, section 3.3): their options, and how
// their results are shown.

import type {
  EtcMerge,
  EtcStrategy,
  FinalizedDeployment,
  MetadataOptions,
  StagedDeployment,
  UpdateOptions,
  UpdateResult,
} from "../index.ts";
import { displayBytes } from "../bytes/byte-string.ts";
import type { Context, OptionSpec } from "./command.ts";
import { BASE_OPTIONS, baseOption } from "./deploy-options.ts";
import { UsageError } from "./failure.ts";
import { REGISTRY_OPTIONS, registryOptions } from "./registry-options.ts";

/** How images are fetched. */
export const FETCH_OPTIONS: readonly OptionSpec[] = [
  {
    name: "platform",
    value: "OS/ARCH[/VARIANT]",
    description: "which image of an index; this machine's when left out",
  },
  ...REGISTRY_OPTIONS,
];

/** What of the metadata of `/etc` and `/var` is written. */
export const METADATA_OPTIONS: readonly OptionSpec[] = [
  {
    name: "owner",
    value: "full|ignore",
    choices: ["full", "ignore"],
    description: "owners of files in etc and var, or the caller's; full as root when left out, else ignore",
  },
  {
    name: "xattrs",
    value: "full|user|none",
    choices: ["full", "user", "none"],
    description: "xattrs of files in etc and var; full as root when left out, else user",
  },
];

/** By way of the sysroot's own container storage. */
export const UNIFIED_OPTION: OptionSpec = {
  name: "unified",
  description:
    "bring the image into the container storage of the sysroot with podman, to be run from there, and share its files; later updates do so by themselves",
};

/** What becomes of conflicts in `/etc`. */
export const CONFLICT_OPTION: OptionSpec = {
  name: "conflicts",
  value: "STRATEGY",
  choices: ["fail", "keep-local", "take-image"],
  description: "where etc has a directory and the image none, or the other way round; fail when left out",
};

/** Options of what a deployment boots with. */
export const BOOT_OPTIONS: readonly OptionSpec[] = [
  { name: "karg", value: "ARG", repeat: true, description: "a kernel argument more; not for a UKI" },
  {
    name: "addon",
    value: "NAME",
    repeat: true,
    description: "an addon of the UKI to be installed, without .addon.efi",
  },
  {
    name: "esp-uuid",
    value: "UUID",
    description: "of the ESP's file system, by which grub finds UKIs; blkid prints it",
  },
];

/** Options of upgrade and switch. */
export const UPDATE_OPTIONS: readonly OptionSpec[] = [
  ...BASE_OPTIONS,
  CONFLICT_OPTION,
  ...BOOT_OPTIONS,
  ...METADATA_OPTIONS,
  ...FETCH_OPTIONS,
  { name: "no-finalize", description: "offline: stop when it is staged; deploy finalize makes it the default" },
  { name: "no-service", description: "do not start the service that finalizes when the machine goes down" },
  { name: "apply", description: "restart the machine when something is staged" },
  { name: "dry-run", description: "print what would be done, and write nothing" },
];

/** What the options for metadata say. */
export function metadataGiven({ text }: Pick<Context, "text">): MetadataOptions {
  return {
    owner: text("owner") as MetadataOptions["owner"],
    xattrs: text("xattrs") as MetadataOptions["xattrs"],
  };
}

/** The strategy that was asked for. */
export function conflictsGiven({ text }: Pick<Context, "text">): EtcStrategy | undefined {
  return text("conflicts") as EtcStrategy | undefined;
}

/** How images are fetched, as the options say. */
export async function fetchGiven(context: Context): Promise<Pick<UpdateOptions, "registry" | "platform" | "unified">> {
  const platform = context.text("platform");
  const registry = registryOptions(context);
  const { parsePlatform } = await import("../oci/platform.ts");
  const unified = context.flag("unified") || undefined;
  return { registry, platform: platform === undefined ? undefined : parsePlatform(platform), unified };
}

/** What the options of upgrade and switch say. */
export async function updateGiven(context: Context): Promise<UpdateOptions> {
  const { flag, list, text } = context;
  if (flag("apply") && flag("dry-run")) throw new UsageError("--apply and --dry-run exclude each other");
  return {
    ...metadataGiven(context),
    ...(await fetchGiven(context)),
    base: baseOption(context),
    conflicts: conflictsGiven(context),
    kargs: list("karg"),
    addons: list("addon"),
    espUuid: text("esp-uuid"),
    noFinalize: flag("no-finalize"),
    noService: flag("no-service"),
    dryRun: flag("dry-run"),
  };
}

/**
 * Tells what an update did: lines of text, key then value in column 10, or JSON.
 *
 * @param more further members of the JSON
 */
export async function printUpdate(
  { global, out, note }: Context,
  result: UpdateResult,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  for (const warning of result.warnings) note(`warning: ${warning}`);
  const { originReference } = await import("../deploy/image-reference.ts");
  const reference = result.reference && originReference(result.reference);
  if (global.json) return out.json({ ...updateJson(result, reference), ...more });
  const { decision, id, manifest, base, staged, planned, finalized } = result;
  const reason = "reason" in decision ? ` (${decision.reason})` : "";
  await out.write(
    lines([
      ["action", `${decision.action}${reason}${result.dryRun ? ", not done" : ""}`],
      ["image", reference],
      ["manifest", manifest],
      ["id", id],
      ["base", base],
      ["kernel", staged && (staged.sharesKernel ? "shared with another deployment" : "installed")],
      ...mergeLines(finalized?.merge ?? staged?.merge ?? planned),
      [
        "default",
        finalized?.result === "finalized" ? "yes" : staged && "after deploy finalize, or when the machine goes down",
      ],
    ]),
  );
  const advice = adviceFor(result);
  if (advice !== undefined) note(advice);
}

function adviceFor({ decision }: UpdateResult): string | undefined {
  if (decision.action !== "none") return undefined;
  switch (decision.reason) {
    case "matches-rollback":
      return "the image is that of the rollback deployment: `composefs deploy rollback` makes it the default";
    case "matches-other":
      return "the image is that of another deployment: `composefs deploy rollback --to` makes it the default, `composefs deploy delete` lets it be installed anew";
    default:
      return undefined;
  }
}

function updateJson(result: UpdateResult, reference: string | undefined): object {
  const { decision, dryRun, manifest, id, base, staged, planned, finalized, collected, warnings } = result;
  return {
    action: decision.action,
    reason: "reason" in decision ? decision.reason : null,
    slot: "slot" in decision ? decision.slot : null,
    dryRun,
    imageReference: reference ?? null,
    manifest: manifest ?? null,
    id: id ?? null,
    base: base ?? null,
    staged: staged ? stagedJson(staged) : null,
    planned: planned ? { etc: mergeJson(planned) } : null,
    finalized: finalized ? finalizedJson(finalized) : null,
    collected: collected
      ? {
          objectsRemoved: collected.objectsRemoved,
          objectsBytes: collected.objectsBytes,
          removeStateDirs: collected.plan.removeStateDirs,
        }
      : null,
    warnings,
  };
}

function stagedJson({ files, sharesKernel, merge }: StagedDeployment): object {
  return {
    sharesKernel,
    files: files.map(({ step, result }) => ({ path: step.path, result })),
    etc: mergeJson(merge),
  };
}

/** What finalize did, for programs. */
export function finalizedJson({ result, id, base, merge }: FinalizedDeployment): object {
  return { result, id: id ?? null, base: base ?? null, etc: mergeJson(merge) };
}

function mergeJson(merge: EtcMerge | undefined): object | null {
  if (merge === undefined) return null;
  const [added, modified, removed, ignored, dropped] = [
    merge.added,
    merge.modified,
    merge.removed,
    merge.ignored,
    merge.dropped,
  ].map((paths) => paths.map(displayBytes));
  const conflicts = merge.conflicts.map(({ path, kind }) => ({ path: displayBytes(path), kind }));
  return { added, modified, removed, ignored, dropped, conflicts };
}

/** What a merge of `/etc` carried over, for people. */
export function mergeLines(merge: EtcMerge | undefined): [string, string | undefined][] {
  if (merge === undefined) return [];
  const { added, modified, removed, ignored, dropped } = merge;
  const counts = `${added.length} added, ${modified.length} modified, ${removed.length} removed`;
  return [
    ["etc", `${counts} locally`],
    ["ignored", ignored.length > 0 ? `${ignored.length} pipes, sockets or devices` : undefined],
    ["dropped", dropped.length > 0 ? dropped.map(displayBytes).join(" ") : undefined],
  ];
}

/** Stable lines: key, then the value in column 10; those without value are left out. */
export function lines(rows: readonly (readonly [key: string, value: string | undefined])[]): string {
  return rows.flatMap(([key, value]) => (value === undefined ? [] : [`${key.padEnd(8)} ${value}\n`])).join("");
}
