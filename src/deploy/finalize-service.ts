// The service that finalizes when the machine goes down (docs/spec/deployments.md, section 4.4): a unit of systemd that does so when it is
// stopped, and so must have been started.

import { spawnSync } from "node:child_process";
import { ComposefsError } from "../error.ts";

const UNIT = "bootc-finalize-staged.service";

/**
 * Starts the service of the running system.
 *
 * @throws ComposefsError `unsupported` with the reason `E_FINALIZE_SERVICE`
 */
export function startFinalizeService(): void {
  const { error, status, stderr } = spawnSync("systemctl", ["start", UNIT], { encoding: "utf8" });
  if (!error && status === 0) return;
  throw new ComposefsError("unsupported", `${UNIT} cannot be started: ${error?.message ?? stderr.trim()}`, {
    path: UNIT,
    reason: "E_FINALIZE_SERVICE",
    hint: "without it the update would not become the default; use --no-service, and run `composefs deploy finalize` before the reboot",
  });
}
