// The kernel argument that names the image to boot (docs/spec/boot.md, sections 7.3, 7.4 and 7.6): `composefs=` and
// `composefs.digest=`, how they are found, written and replaced, and the check of a UKI's command line.

import { type Algorithm, DIGEST_SIZE, type ObjectId } from "../../bytes/algorithm.ts";
import { displayBytes, utf8ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError, type ErrorDetails } from "../../error.ts";
import { parseParameter, splitCommandLine, wordSpans } from "./command-line.ts";

/** The image that a kernel command line names. */
export interface ComposefsArgument {
  /** The EROFS layout that the digest belongs to: 1 for the layouts of formats 0 and 1, 2 for that of format 2. */
  readonly version: 1 | 2;
  readonly algorithm: Algorithm;
  /** Lower-case hex, whatever the spelling was. */
  readonly digest: ObjectId;
  /** `?`: the boot goes on without fs-verity. */
  readonly insecure: boolean;
}

/** What is needed to write the argument; a {@link ComposefsArgument} will do. */
export interface ArgumentToRender {
  /** Format of the image: 0 and 1 give `composefs.digest=`, 2 gives the short `composefs=`. */
  readonly version: 0 | 1 | 2;
  /** The id of the image; its length tells the hash. */
  readonly digest: ObjectId;
  readonly insecure: boolean;
}

/** One argument as the initramfs program takes it: digest in its own spelling, because it names a file. */
export interface ListedArgument {
  readonly digest: string;
  readonly algorithm: Algorithm;
  readonly insecure: boolean;
}

/** What the tolerant reader found. */
export interface TolerantArgument {
  /** As it is spelled. With `source: "composefs"` it is any text that is not empty. */
  readonly digest: string;
  readonly insecure: boolean;
  readonly source: "composefs" | "composefs.digest";
  /** The layout that a `composefs.digest` names; undefined for the short form. */
  readonly version: 1 | 2 | undefined;
}

const DESCRIBED = "composefs.digest=";
const SHORT = "composefs=";
const HINT = "the forms are composefs=DIGEST and composefs.digest=v1-sha512-12:DIGEST, with a ? after the = if need be";

/**
 * Writes the argument for an image: `composefs.digest=[?]v1-HASH-12:HEX` for formats 0 and 1, `composefs=[?]HEX` for format 2.
 * A caller that writes the short form whatever the format, as bootc does, passes version 2.
 *
 * @example
 * ```ts
 * renderComposefsArgument({ version: 2, digest: id, insecure: true }); // `composefs=?${id}`
 * ```
 */
export function renderComposefsArgument({ version, digest, insecure }: ArgumentToRender): string {
  const optional = insecure ? "?" : "";
  if (version === 2) return `${SHORT}${optional}${digest}`;
  return `${DESCRIBED}${optional}v1-${digest.length === 64 ? "sha256" : "sha512"}-12:${digest}`;
}

/**
 * The image that a command line names in a repository of that algorithm: the first fitting `composefs.digest=`, else the first
 * `composefs=`. Strict: what is malformed before the one that fits is an error. Words in quotes are not recognised.
 *
 * @param source what the line is, for messages, as in "the command line of EFI/Linux/a.efi"
 * @returns undefined when the line has none for the algorithm
 * @throws ComposefsError `invalid` with a reason `karg-bad-...`
 */
export function findComposefsArgument(
  line: string,
  algorithm: Algorithm,
  source = "the kernel command line",
): ComposefsArgument | undefined {
  const segments = splitCommandLine(line);
  for (const segment of segments) {
    if (!segment.startsWith(DESCRIBED)) continue;
    const described = parseDescribed(segment, source);
    if (described.algorithm !== algorithm) continue;
    checkDigest(described.digest, algorithm, segment, source);
    return { ...described, digest: described.digest.toLowerCase() };
  }
  const short = segments.find((segment) => segment.startsWith(SHORT));
  if (short === undefined) return undefined;
  const { digest, insecure } = optionalMark(short.slice(SHORT.length));
  checkDigest(digest, algorithm, short, source);
  return { version: 2, algorithm, digest: digest.toLowerCase(), insecure };
}

/**
 * All arguments in the order of the line, as the initramfs program collects them: whatever their algorithm; one that is malformed
 * is an error wherever it stands.
 *
 * @throws ComposefsError `invalid` with a reason `karg-bad-...`
 */
export function listComposefsArguments(line: string, source = "the kernel command line"): ListedArgument[] {
  const found: ListedArgument[] = [];
  for (const segment of splitCommandLine(line)) {
    if (segment.startsWith(DESCRIBED)) {
      const { algorithm, digest, insecure } = parseDescribed(segment, source);
      checkDigest(digest, algorithm, segment, source);
      found.push({ digest, algorithm, insecure });
    } else if (segment.startsWith(SHORT)) {
      const { digest, insecure } = optionalMark(segment.slice(SHORT.length));
      const algorithm = digest.length === 64 ? "sha256" : "sha512";
      checkDigest(digest, algorithm, segment, source, "64 or 128");
      found.push({ digest, algorithm, insecure });
    }
  }
  return found;
}

/**
 * The image that a boot entry or `/proc/cmdline` names, read tolerantly: a `composefs.digest=` that is malformed or of another
 * algorithm is passed over, and the value of `composefs=` is taken as it is as long as there is one. Never throws.
 *
 * @param algorithm of the repository; any when left out
 */
export function readComposefsArgument(line: string, algorithm?: Algorithm): TolerantArgument | undefined {
  const segments = splitCommandLine(line);
  for (const segment of segments) {
    if (!segment.startsWith(DESCRIBED)) continue;
    const match = /^(\??)v([12])-(sha256|sha512)-12:([0-9a-fA-F]+)$/.exec(segment.slice(DESCRIBED.length));
    const digest = match?.[4];
    if (!match || digest?.length !== (match[3] === "sha256" ? 64 : 128)) continue;
    if (algorithm !== undefined && match[3] !== algorithm) continue;
    return {
      digest,
      insecure: match[1] === "?",
      source: "composefs.digest",
      version: match[2] === "1" ? 1 : 2,
    };
  }
  for (const segment of segments) {
    if (!segment.startsWith(SHORT)) continue;
    const { digest, insecure } = optionalMark(segment.slice(SHORT.length));
    if (digest !== "") return { digest, insecure, source: "composefs", version: undefined };
  }
  return undefined;
}

/** Whether a word, read by the model of parameters (quotes respected), names an image to boot in either spelling. */
export function isComposefsWord(word: string): boolean {
  const key = parseParameter(word)?.key;
  return key === "composefs" || key === "composefs.digest";
}

/**
 * Makes `argument` the only one of a line that names an image: it takes the place of the first one, in either spelling, and the
 * others go. Appended where there was none. A line that changes is joined with single spaces.
 *
 * @param argument as {@link renderComposefsArgument} writes it
 */
export function setComposefsArgument(line: string, argument: string): string {
  const words = wordSpans(line).map(({ start, end }) => line.slice(start, end));
  const first = words.findIndex(isComposefsWord);
  if (first < 0) return line === "" || /[ \t\n\f\r]$/.test(line) ? line + argument : `${line} ${argument}`;
  if (words.filter(isComposefsWord).length === 1 && words[first] === argument) return line;
  return words
    .map((word, index) => (index === first ? argument : word))
    .filter((word, index) => index === first || !isComposefsWord(word))
    .join(" ");
}

/**
 * Checks that the command line of a UKI names one of the images it may boot (7.6). Neither spelling nor `?` is compared.
 *
 * @param line text of the section `.cmdline`
 * @param acceptable ids of images, lower-case hex
 * @param source the UKI, for messages
 * @returns the id that it names
 * @throws ComposefsError `invalid`: `uki-no-karg` or `karg-bad-...`; `digest-mismatch`: `uki-digest-mismatch`
 */
export function checkUkiDigest(
  line: string,
  algorithm: Algorithm,
  acceptable: readonly ObjectId[],
  source = "the UKI",
): ObjectId {
  // Some builders end the section with a NUL, which would otherwise be part of the digest.
  const found = findComposefsArgument(line.split("\0", 1)[0] ?? "", algorithm, `the command line of ${source}`);
  if (!found)
    throw new ComposefsError("invalid", `the command line of ${source} names no composefs image for ${algorithm}`, {
      reason: "uki-no-karg",
      hint: "build the UKI with the output of `composefs compute-karg` in its command line",
    });
  if (acceptable.includes(found.digest)) return found.digest;
  throw new ComposefsError(
    "digest-mismatch",
    `${source} boots the image ${found.digest}, but this image is ${acceptable.join(" or ") || "none"}`,
    {
      reason: "uki-digest-mismatch",
      digest: found.digest,
      hint: "`composefs explain` finds out which image has the digest of the UKI, or build the UKI anew",
    },
  );
}

interface Described {
  readonly version: 1 | 2;
  readonly algorithm: Algorithm;
  /** Not checked yet. */
  readonly digest: string;
  readonly insecure: boolean;
}

// The descriptor before the digest, checked in the order of section 7.3.
function parseDescribed(segment: string, source: string): Described {
  const { digest: text, insecure } = optionalMark(segment.slice(DESCRIBED.length));
  const malformed = (why: string) => bad("karg-bad-descriptor", segment, source, why);
  const colon = text.indexOf(":");
  if (colon < 0) throw malformed("there is no colon before the digest");
  const descriptor = text.slice(0, colon);
  const dash = descriptor.indexOf("-");
  if (dash < 0) throw malformed("it must begin with version, hash and block size, as in v1-sha512-12");
  const version = descriptor.slice(0, dash);
  if (version !== "v1" && version !== "v2")
    throw bad("karg-bad-version", segment, source, `the version must be v1 or v2, not ${shown(version)}`);
  const rest = descriptor.slice(dash + 1);
  const last = rest.lastIndexOf("-");
  const size = rest.slice(last + 1);
  if (last < 0 || !/^\+?[0-9]+$/.test(size) || Number(size) > 255)
    throw malformed("the hash must be followed by the block size, as in sha512-12");
  if (Number(size) !== 12)
    throw bad(
      "karg-bad-blocksize",
      segment,
      source,
      `the block size must be 12 (4096 bytes), not ${size.slice(0, 20)}`,
    );
  const hash = rest.slice(0, last);
  if (hash !== "sha256" && hash !== "sha512")
    throw bad("karg-bad-algorithm", segment, source, `the hash must be sha256 or sha512, not ${shown(hash)}`);
  return { version: version === "v1" ? 1 : 2, algorithm: hash, digest: text.slice(colon + 1), insecure };
}

function optionalMark(value: string): { digest: string; insecure: boolean } {
  return value.startsWith("?") ? { digest: value.slice(1), insecure: true } : { digest: value, insecure: false };
}

function checkDigest(digest: string, algorithm: Algorithm, segment: string, source: string, lengths?: string): void {
  const length = 2 * DIGEST_SIZE[algorithm];
  if (digest.length === length && /^[0-9a-fA-F]+$/.test(digest)) return;
  const why =
    digest.length === length
      ? "the digest has characters that are no hex digits"
      : `the digest must have ${lengths ?? `${length} (${algorithm})`} hex digits, not ${digest.length}`;
  throw bad("karg-bad-digest", segment, source, why);
}

function bad(reason: string, segment: string, source: string, why: string): ComposefsError {
  const details: ErrorDetails = { reason, hint: HINT };
  return new ComposefsError("invalid", `${source}: "${shown(segment)}": ${why}`, details);
}

// What came from outside, safe and short enough to be shown.
function shown(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}...` : text;
  return displayBytes(utf8ByteString(short));
}
