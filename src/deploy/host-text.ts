// Status for people (docs/spec/deployments.md, section 4.9): one block for each deployment, the colons below each other.

import { displayBytes, utf8ByteString } from "../bytes/byte-string.ts";
import type { Host, HostEntry, ImageStatus } from "./host.ts";
import type { ImageSignature } from "./image-reference.ts";

/** What {@link hostText} shows. */
export interface HostTextOptions {
  /** Also signature, soft reboot, fs-verity and download. */
  readonly verbose?: boolean | undefined;
}

type Part = "staged" | "booted" | "rollback" | "other";

const HEADINGS: Record<Part, string> = {
  staged: "  Staged ",
  booted: "● Booted ",
  rollback: "  Rollback ",
  other: "   Other ",
};

/** The text for a terminal; ends in a newline. */
export function hostText(host: Host, options: HostTextOptions = {}): string {
  const { staged, booted, rollback, otherDeployments = [] } = host.status;
  const slots: [Part, HostEntry | null][] = [
    ["staged", staged],
    ["booted", booted],
    ["rollback", rollback],
    ...otherDeployments.map((entry): [Part, HostEntry] => ["other", entry]),
  ];
  const blocks = slots.flatMap(([part, entry]) => (entry ? block(part, entry, host, options.verbose ?? false) : []));
  return blocks.length === 0 ? "System is not deployed via bootc.\n" : blocks.join("\n");
}

function block(part: Part, entry: HostEntry, host: Host, verbose: boolean): string {
  const { image, composefs } = entry;
  const rows: [label: string, value: string][] = [];
  const label = `${HEADINGS[part]}${image ? "image" : "composefs"}`;
  if (image) {
    const { imageDigest, architecture } = image;
    rows.push(["Digest", imageDigest + (architecture === "" ? "" : ` (${architecture})`)]);
    rows.push(["Verity", composefs.verity], ...versionRows(image));
  } else rows.push(["Commit", composefs.verity]);
  if (entry.pinned) rows.push(["Pinned", "yes"]);
  rows.push(...updateRows(entry));
  const overlay = host.status.usrOverlay;
  if (part === "booted" && overlay)
    rows.push([
      "/usr overlay",
      `${overlay.persistence}, ${overlay.accessMode === "readWrite" ? "read/write" : "read-only"}`,
    ]);
  if (verbose) {
    if (image?.image.signature !== undefined) rows.push(["Signature", signatureText(image.image.signature)]);
    rows.push(["Soft-reboot", yesNo(entry.softRebootCapable)]);
    rows.push(["FsVerity", composefs.missingVerityAllowed ? "Not Enforced" : "Enforced"]);
    if (part === "staged") rows.push(["Download-only", yesNo(entry.downloadOnly)]);
  }
  const first = image ? `${label}: ${shown(referenceText(image))}\n` : `${label}\n`;
  return first + rows.map(([name, value]) => `${name.padStart(label.length)}: ${shown(value)}\n`).join("");
}

// Images and origin files may have any text; a terminal must not take a part of it for a command.
function shown(text: string): string {
  return displayBytes(utf8ByteString(text));
}

function referenceText({ image: { image, transport } }: ImageStatus): string {
  return transport === "registry" ? image : `${transport}:${image}`;
}

function versionRows({ version, timestamp }: ImageStatus): [string, string][] {
  const time = timestamp === null ? undefined : timestamp.replace(/\.\d+Z$/, "Z");
  if (version !== null) return [["Version", version + (time === undefined ? "" : ` (${time})`)]];
  return time === undefined ? [] : [["Timestamp", time]];
}

function updateRows({ image, cachedUpdate }: HostEntry): [string, string][] {
  if (!cachedUpdate || cachedUpdate.imageDigest === image?.imageDigest) return [];
  const { version, imageDigest } = cachedUpdate;
  if (version === null) return [["Update", "Available"]];
  return [
    ["UpdateVersion", version],
    ["UpdateDigest", imageDigest],
  ];
}

function signatureText(signature: ImageSignature): string {
  return signature === "containerPolicy" ? "container-policy" : `ostree-remote:${signature.ostreeRemote}`;
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
