// What a check of a sysroot finds (docs/spec/deployments.md, section 4.10).

/** How bad it is: an error keeps a deployment from booting, or will. */
export type CheckLevel = "error" | "warning" | "info";

/** Something found. */
export interface CheckFinding {
  /** The test of section 4.10: `C1` to `C12`. */
  readonly check: string;
  readonly level: CheckLevel;
  readonly message: string;
  /** The deployment concerned. */
  readonly id?: string;
  readonly path?: string;
}

/** Collects findings in the order in which they are made. */
export class CheckReport {
  readonly findings: CheckFinding[] = [];

  /** Adds one. */
  add(level: CheckLevel, check: string, message: string, about: { readonly id?: string; readonly path?: string } = {}) {
    this.findings.push({ check, level, message, ...about });
  }
}
