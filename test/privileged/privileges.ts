// Blocks of tests that mount: without the privileges they become one skipped test with the remedy in its name.

import { describe, it } from "vitest";
import { missingPrivilege } from "./mounts.ts";

const missing = missingPrivilege();

/** A `describe` block that needs to mount images. Skips, also with CI=true: a container may not give what it takes. */
export function describeMounts(title: string, body: () => void): void {
  if (missing === undefined) describe(title, body);
  else describe(title, () => it.skip(`skipped: ${missing}`, () => {}));
}
