// The status of a sysroot as the document that bootc prints, API `org.containers.bootc/v1` (docs/spec/deployments.md, section 4.9).

import type { BootLoader } from "../boot/entry/order.ts";
import type { Digest } from "../oci/digest.ts";
import { imageTime, imageVersion } from "./image-info.ts";
import type { HostImage } from "./image-reference.ts";
import { type Deployment, type Deployments, readDeployments } from "./deployments.ts";
import type { DeployWarning, SysrootState, UsrOverlay } from "./state.ts";

/** What is known about the image of a deployment. */
export interface ImageStatus {
  readonly image: HostImage;
  readonly version: string | null;
  /** RFC 3339, in UTC. */
  readonly timestamp: string | null;
  /** The digest of the manifest; empty when it is unknown. */
  readonly imageDigest: Digest;
  /** Empty when it is unknown. */
  readonly architecture: string;
}

/** One deployment. */
export interface HostEntry {
  readonly image: ImageStatus | null;
  /** What the last check for updates found. */
  readonly cachedUpdate: ImageStatus | null;
  readonly incompatible: boolean;
  readonly pinned: boolean;
  readonly softRebootCapable: boolean;
  readonly downloadOnly: boolean;
  readonly store: null;
  readonly ostree: null;
  readonly composefs: {
    /** The deployment id. */
    readonly verity: string;
    readonly bootType: "Bls" | "Uki";
    readonly bootloader: BootLoader;
    /** SHA-256 of kernel and initramfs. */
    readonly bootDigest: string | null;
    readonly missingVerityAllowed: boolean;
  };
}

/** The whole document. */
export interface Host {
  readonly apiVersion: "org.containers.bootc/v1";
  readonly kind: "BootcHost";
  readonly metadata: { readonly name: "host" };
  readonly spec: { readonly image: HostImage | null; readonly bootOrder: "default" | "rollback" };
  readonly status: {
    readonly staged: HostEntry | null;
    readonly booted: HostEntry | null;
    readonly rollback: HostEntry | null;
    /** Left out when there are none. */
    readonly otherDeployments?: readonly HostEntry[];
    readonly rollbackQueued: boolean;
    readonly type: "bootcHost" | null;
    readonly usrOverlay: UsrOverlay | null;
    readonly readOnly: boolean;
  };
}

/** The document, and what was found damaged on the way to it. */
export interface HostStatus {
  readonly host: Host;
  readonly warnings: readonly DeployWarning[];
}

const NO_SYSROOT: SysrootState = {
  bootloader: "grub",
  missingVerityAllowed: false,
  boot: { entries: [] },
  state: new Map(),
  images: new Map(),
};

/**
 * Status: what a sysroot boots and what its deployments are. Never fails because of one of them.
 *
 * @param state undefined for a machine that runs no deployment: its document is empty
 */
export function hostStatus(state: SysrootState = NO_SYSROOT): HostStatus {
  const deployments = readDeployments(state);
  return { host: hostDocument(deployments, state), warnings: deployments.warnings };
}

/** The document with the booted deployment alone. */
export function onlyBooted(host: Host): Host {
  const { otherDeployments: _, ...status } = host.status;
  return { ...host, status: { ...status, staged: null, rollback: null } };
}

function hostDocument(
  { marker, staged, booted, rollback, others, rollbackQueued }: Deployments,
  state: SysrootState,
): Host {
  const entry = (deployment: Deployment | undefined) =>
    deployment === undefined ? null : hostEntry(deployment, state, deployment === staged && marker?.locked === true);
  return {
    apiVersion: "org.containers.bootc/v1",
    kind: "BootcHost",
    metadata: { name: "host" },
    spec: { image: (staged ?? booted)?.image ?? null, bootOrder: rollbackQueued ? "rollback" : "default" },
    status: {
      staged: entry(staged),
      booted: entry(booted),
      rollback: entry(rollback),
      ...(others.length === 0 ? {} : { otherDeployments: others.map((one) => hostEntry(one, state, false)) }),
      rollbackQueued,
      type: booted?.image === undefined ? null : "bootcHost",
      usrOverlay: state.usrOverlay ?? null,
      readOnly: state.readOnly ?? false,
    },
  };
}

function hostEntry(deployment: Deployment, state: SysrootState, downloadOnly: boolean): HostEntry {
  return {
    image: imageStatus(deployment),
    cachedUpdate: imageStatus(deployment.cachedUpdate),
    incompatible: false,
    pinned: false,
    softRebootCapable: deployment.softRebootCapable,
    downloadOnly,
    store: null,
    ostree: null,
    composefs: {
      verity: deployment.id,
      bootType: deployment.bootType === "bls" ? "Bls" : "Uki",
      bootloader: state.bootloader,
      bootDigest: deployment.bootDigest ?? null,
      missingVerityAllowed: state.missingVerityAllowed,
    },
  };
}

function imageStatus(
  found: Pick<Deployment, "image" | "documents" | "manifestDigest"> | undefined,
): ImageStatus | null {
  if (!found?.image) return null;
  const { image, documents, manifestDigest } = found;
  return {
    image,
    version: (documents && imageVersion(documents.manifest, documents.config)) ?? null,
    timestamp: imageTime(documents?.config?.created) ?? null,
    imageDigest: manifestDigest ?? "",
    architecture: documents?.config?.architecture ?? "",
  };
}
