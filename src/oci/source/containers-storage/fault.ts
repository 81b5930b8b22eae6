// What can be wrong with a container store, by class (docs/spec/containers-storage.md, section 15).

import { ComposefsError, type ErrorCode, type ErrorDetails } from "../../../error.ts";

const CODES = {
  "no-store": "not-found",
  driver: "unsupported",
  "no-image": "not-found",
  ambiguous: "invalid",
  "bad-index": "invalid",
  "no-manifest": "not-found",
  "no-config": "not-found",
  "manifest-digest": "digest-mismatch",
  "config-digest": "digest-mismatch",
  "layer-missing": "not-found",
  "layer-incomplete": "not-found",
  "no-tar-split": "not-found",
  format: "invalid",
  name: "invalid",
  missing: "not-found",
  "not-regular": "invalid",
  symlink: "invalid",
  size: "digest-mismatch",
  checksum: "digest-mismatch",
  permission: "permission",
  vanished: "io",
} as const satisfies Record<string, ErrorCode>;

/** A class of section 15, the `reason` of the error. */
export type StorageFault = keyof typeof CODES;

const PULL_AGAIN = "the store is damaged there; pull the image into it again with podman";

const HINTS: Partial<Record<StorageFault, string>> = {
  "no-manifest": PULL_AGAIN,
  "no-config": PULL_AGAIN,
  "manifest-digest": PULL_AGAIN,
  "config-digest": PULL_AGAIN,
  "layer-missing": PULL_AGAIN,
  "layer-incomplete": "podman is still writing the layer, or was interrupted; wait for it, or pull the image again",
  "no-tar-split": PULL_AGAIN,
  format: PULL_AGAIN,
  missing: PULL_AGAIN,
  "not-regular": PULL_AGAIN,
  symlink: PULL_AGAIN,
  size: PULL_AGAIN,
  checksum: PULL_AGAIN,
};

/** The error for a fault of a store, with the hint of its class unless the details have one. */
export function storageError(fault: StorageFault, message: string, details: ErrorDetails = {}): ComposefsError {
  const hint = HINTS[fault];
  return new ComposefsError(CODES[fault], message, {
    reason: fault,
    ...(hint === undefined ? {} : { hint }),
    ...details,
  });
}

/** The symbolic errno of an error of the operating system. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}
