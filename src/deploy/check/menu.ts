// The tests that need nothing but the state (docs/spec/deployments.md, section 4.10): C3, C10, C11, and of C1, C4 and C8 what status warns
// about. Pure.

import { type Algorithm, DIGEST_SIZE } from "../../bytes/algorithm.ts";
import { readComposefsArgument } from "../../boot/kargs/composefs-argument.ts";
import type { Deployments } from "../deployments.ts";
import { entryOptions, type MenuEntry } from "../menu-entry.ts";
import { BOOT_TYPE, originValue, parseOrigin } from "../origin.ts";
import type { DeployWarning, SysrootState, WarningCode } from "../state.ts";
import { warningText } from "../warning-text.ts";
import type { CheckLevel, CheckReport } from "./finding.ts";

// Missing manifests are looked at more closely elsewhere, and state directories with the files.
const WARNINGS: Partial<Record<WarningCode, readonly [CheckLevel, string]>> = {
  W_BAD_BOOT_ENTRY: ["warning", "C8"],
  W_NO_ORIGIN: ["error", "C3"],
  W_BAD_ORIGIN: ["error", "C3"],
  W_BAD_BOOT_TYPE: ["error", "C3"],
  W_BAD_IMGREF: ["warning", "C4"],
  W_BAD_MANIFEST_DIGEST: ["warning", "C4"],
  W_BAD_IMGINFO: ["warning", "C4"],
  W_NO_IMAGE_INFO: ["warning", "C4"],
  W_BAD_STAGED_FILE: ["warning", "C8"],
  W_STALE_STAGED_ENTRY: ["warning", "C8"],
  W_STAGED_WITHOUT_ENTRY: ["warning", "C8"],
  W_BOOTED_NOT_FOUND: ["error", "C1"],
};

/** What status warns about. */
export function checkWarnings(warnings: readonly DeployWarning[], report: CheckReport): void {
  for (const warning of warnings) {
    const [level, check] = WARNINGS[warning.code] ?? [];
    if (level === undefined || check === undefined) continue;
    const { id: _, ...rest } = warning;
    report.add(level, check, warningText(rest), warning.id === undefined ? {} : { id: warning.id });
  }
}

/** C3: the kind of the origin is that of the entry. */
export function checkBootType({ verity: id, kind, file }: MenuEntry, state: SysrootState, report: CheckReport): void {
  const text = state.state.get(id)?.origin;
  let type: string | undefined;
  try {
    type = text === undefined ? undefined : originValue(parseOrigin(text), BOOT_TYPE);
  } catch {
    // It has its own finding.
  }
  if ((type === "bls" || type === "uki") && type !== kind)
    report.add("error", "C3", `the origin says ${type}, but the entry ${file} boots ${nameOf(kind)}`, { id });
}

function nameOf(kind: "bls" | "uki"): string {
  return kind === "bls" ? "a kernel" : "a UKI";
}

/** C10: the composefs parameter of an entry, or of the UKI that it boots. */
export function checkParameter(entry: MenuEntry, state: SysrootState, report: CheckReport): void {
  const { verity: id, file, kind, artifact } = entry;
  const line = entryOptions(entry) ?? state.ukiCommandLines?.get(artifact?.name ?? "");
  if (line === undefined) return;
  const where = kind === "bls" ? `the entry ${file}` : "the UKI";
  const argument = readComposefsArgument(line, state.algorithm);
  if (!argument) {
    report.add("error", "C10", `${where} has no composefs parameter for this repository`, { id });
    return;
  }
  if (argument.digest !== id) report.add("error", "C10", `${where} boots another image: ${argument.digest}`, { id });
  if (argument.insecure && !state.missingVerityAllowed)
    report.add("error", "C10", `${where} allows missing fs-verity, which the repository does not`, { id });
  const { algorithm } = state;
  if (algorithm !== undefined && argument.digest.length !== digits(algorithm))
    report.add(
      "error",
      "C10",
      `the digest in ${where} has ${argument.digest.length} digits, not those of ${algorithm}`,
      {
        id,
      },
    );
}

function digits(algorithm: Algorithm): number {
  return 2 * DIGEST_SIZE[algorithm];
}

/** C11: one entry is the default, whatever the boot loader goes by. */
export function checkOrder({ menu }: Deployments, report: CheckReport): void {
  const seen = new Map<string, string>();
  let primaries = 0;
  let isSorted = false;
  for (const { source, file } of menu.active.entries) {
    if (source.kind !== "bls") continue;
    const { sortKey, version } = source.entry;
    if (sortKey === undefined) continue;
    isSorted = true;
    if (/^bootc-.*-0$/.test(sortKey)) primaries++;
    const key = `${sortKey}\n${version}`;
    const other = seen.get(key);
    if (other !== undefined)
      report.add("warning", "C11", `${other} and ${file} have the same sort key and version: ${sortKey}, ${version}`, {
        path: file,
      });
    seen.set(key, file);
  }
  if (isSorted && primaries !== 1)
    report.add("warning", "C11", `${primaries} entries have the sort key of the default, one should`);
}
