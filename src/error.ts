// The one error class of the library: a stable code for programs, a sentence and a hint for people.

/**
 * What kind of failure an error is. Programs branch on this, never on the message.
 *
 * - `usage`: the call itself is wrong (an option, an argument); the command line exits with 2.
 * - `not-found`: something named by the caller does not exist (layout, blob, tag, image, object).
 * - `exists`: something is there already and differs.
 * - `invalid`: input does not follow its format; `path`, `line` or `digest` say where.
 * - `digest-mismatch`: content does not have the digest or size that was promised for it.
 * - `limit`: input is well formed but larger than is accepted.
 * - `unsupported`: this runtime, kernel, file system or format variant cannot do it.
 * - `incompatible`: a repository of a newer version or with unknown incompatible features.
 * - `not-a-repository`: the directory holds no composefs repository.
 * - `corrupt`: the repository's own data is damaged.
 * - `no-space`, `permission`, `read-only`, `io`: the operating system refused.
 * - `locked`: another process holds the lock that is needed.
 * - `aborted`: the caller's AbortSignal fired.
 * - `internal`: a fault of this library.
 */
export type ErrorCode =
  | "usage"
  | "not-found"
  | "exists"
  | "invalid"
  | "digest-mismatch"
  | "limit"
  | "unsupported"
  | "incompatible"
  | "not-a-repository"
  | "corrupt"
  | "no-space"
  | "permission"
  | "read-only"
  | "io"
  | "locked"
  | "aborted"
  | "internal";

/** Where an error is and what helps against it; every member is optional. */
export interface ErrorDetails {
  /** The error underneath, if any. */
  cause?: unknown;
  /** The file, entry or option the error is about. */
  path?: string;
  /** The line in `path`, counted from 1. */
  line?: number;
  /** The digest or object id the error is about. */
  digest?: string;
  /** One sentence that says what to do. */
  hint?: string;
  /** The class of the failure where the code is too coarse for programs: `uki-not-pe`, `karg-bad-digest` (docs/spec/boot.md, section 15). */
  reason?: string;
  /** The part that the deployment concerned plays: booted, staged, rollback or other (docs/spec/deployments.md, section 4.4). */
  slot?: string;
}

/**
 * Every error that this library throws on purpose.
 *
 * @example
 * ```ts
 * try {
 *   await Repository.open("/no/such/place");
 * } catch (error) {
 *   if (error instanceof ComposefsError && error.code === "not-found") console.log(error.hint);
 * }
 * ```
 */
export class ComposefsError extends Error {
  override readonly name = "ComposefsError";
  /** The stable kind of the failure. */
  readonly code: ErrorCode;
  /** The file, entry or option the error is about. */
  readonly path: string | undefined;
  /** The line in `path`, counted from 1. */
  readonly line: number | undefined;
  /** The digest or object id the error is about. */
  readonly digest: string | undefined;
  /** One sentence that says what to do. */
  readonly hint: string | undefined;
  /** The class of the failure, finer than the code; undefined where the code says it all. */
  readonly reason: string | undefined;
  /** The part that the deployment concerned plays, where the failure is about one. */
  readonly slot: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.path = details.path;
    this.line = details.line;
    this.digest = details.digest;
    this.hint = details.hint;
    this.reason = details.reason;
    this.slot = details.slot;
  }
}

const SYSTEM_CODES: Record<string, [ErrorCode, string, string?]> = {
  ENOENT: ["not-found", "no such file or directory"],
  EEXIST: ["exists", "it exists already"],
  ENOTDIR: ["invalid", "not a directory"],
  EISDIR: ["invalid", "is a directory"],
  EACCES: [
    "permission",
    "permission denied",
    "check the owner and mode of the path, or run the command as another user",
  ],
  EPERM: ["permission", "operation not permitted"],
  EROFS: ["read-only", "read-only file system", "mount it writable, or choose another place"],
  ENOSPC: ["no-space", "no space left on the file system", "free some space and run the same command again"],
  EDQUOT: ["no-space", "disk quota exceeded", "free some space and run the same command again"],
  ENAMETOOLONG: ["limit", "the name is too long for the file system"],
  EIO: [
    "io",
    "input/output error",
    "the device has a fault: look into the kernel's log, and run `composefs fsck` when it is repaired",
  ],
  EMFILE: ["io", "too many open files", "raise the limit with `ulimit -n`"],
  ENOPKG: [
    "unsupported",
    "the kernel lacks the hash algorithm that fs-verity needs there",
    "load it with `modprobe sha512_generic`, or use a repository with fsverity-sha256-12",
  ],
};

/**
 * Turns an error of the operating system into a {@link ComposefsError} that says what was being done.
 * Errors that are one already pass through unchanged.
 *
 * @param error what was caught
 * @param action what was being done, as in "writing object ab/cd"
 * @param path the file concerned
 */
export function systemError(error: unknown, action: string, path?: string): ComposefsError {
  if (error instanceof ComposefsError) return error;
  const { code: symbol, errno: number } = (error ?? {}) as { code?: unknown; errno?: unknown };
  // Node has no name for it.
  const errno = number === -65 && process.platform === "linux" ? "ENOPKG" : symbol;
  const known = typeof errno === "string" ? SYSTEM_CODES[errno] : undefined;
  const [code, reason, hint] = known ?? ["io", error instanceof Error ? error.message : String(error)];
  const details: ErrorDetails = { cause: error };
  if (path !== undefined) details.path = path;
  if (hint !== undefined) details.hint = hint;
  return new ComposefsError(code, `${action}: ${reason}`, details);
}

/** Throws the `aborted` error if the signal has fired. Call it between pieces of work. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new ComposefsError("aborted", "interrupted", { cause: signal.reason });
}
