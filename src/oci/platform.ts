// Platforms and the choice among the manifests of an index (docs/spec/oci.md, section 2.4, the NEW rule).

import { endianness } from "node:os";

import { ComposefsError } from "../error.ts";

/** What an image runs on, in Go's names: `linux`, `amd64`, and a variant such as `v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

const ARCHITECTURE: Record<string, string> = {
  x64: "amd64",
  ia32: "386",
  ppc64: endianness() === "LE" ? "ppc64le" : "ppc64",
  loong64: "loong64",
  mipsel: "mipsle",
};

/** The machine's platform. Images are Linux file systems whatever system this runs on. */
export function hostPlatform(): Platform {
  return { os: "linux", architecture: ARCHITECTURE[process.arch] ?? process.arch };
}

/**
 * Parses `OS/ARCH[/VARIANT]`.
 *
 * @throws ComposefsError `usage`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const [os, architecture, variant] = parts;
  if (!os || !architecture || variant === "" || parts.length > 3) {
    throw new ComposefsError("usage", `${JSON.stringify(text)} is not a platform`, {
      hint: "write OS/ARCH[/VARIANT], for example linux/arm64",
    });
  }
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

/** `OS/ARCH[/VARIANT]`. */
export function formatPlatform(platform: Platform): string {
  const base = `${platform.os}/${platform.architecture}`;
  return platform.variant ? `${base}/${platform.variant}` : base;
}

/** Variants that every machine of the architecture runs, best first; "" is an entry without one. */
const BASE_VARIANTS: Record<string, readonly string[]> = {
  amd64: ["", "v1"],
  arm64: ["", "v8"],
  arm: ["v7", "v6", "v5", ""],
};

/** How well `offered` serves `wanted`: undefined not at all, else 0 for best. */
export function platformRank(offered: Platform, wanted: Platform): number | undefined {
  if (offered.os === "unknown" || offered.architecture === "unknown") return undefined;
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return undefined;
  const base = BASE_VARIANTS[wanted.architecture] ?? [""];
  const variant = offered.variant ?? "";
  if (wanted.variant) {
    if (variant === wanted.variant) return 0;
    // No variant means the architecture's base one, where there is just one of them.
    const isBase = (name: string) => name === "" || (wanted.architecture !== "arm" && base.includes(name));
    return isBase(variant) && isBase(wanted.variant) ? 1 : undefined;
  }
  const rank = base.indexOf(variant);
  return rank < 0 ? base.length : rank;
}

/** One manifest that an index offers. */
export interface Candidate {
  /** Undefined for artifacts, which say nothing about it. */
  readonly platform: Platform | undefined;
  readonly digest: string;
  /** The name it has in the layout (`org.opencontainers.image.ref.name`), or undefined. */
  readonly name: string | undefined;
}

/** What {@link chooseCandidate} decided. */
export type Choice<C extends Candidate> =
  | { readonly kind: "chosen"; readonly candidate: C }
  /** Several names match, and none was asked for. */
  | { readonly kind: "ambiguous"; readonly names: string[] }
  | { readonly kind: "none"; readonly available: string[] };

/**
 * Chooses among candidates in list order. The best rank wins, then the order. A single candidate without a platform
 * is taken as it is. Matches under different names with different content are ambiguous.
 */
export function chooseCandidate<C extends Candidate>(candidates: readonly C[], wanted: Platform): Choice<C> {
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1 && only.platform === undefined) {
    return { kind: "chosen", candidate: only };
  }
  let matches = candidates.flatMap((candidate) => {
    const rank = candidate.platform === undefined ? undefined : platformRank(candidate.platform, wanted);
    return rank === undefined ? [] : [{ candidate, rank }];
  });
  if (matches.length === 0 && candidates.every((candidate) => candidate.platform === undefined)) {
    // Artifacts only: the name decides, if it can.
    matches = candidates.map((candidate) => ({ candidate, rank: 0 }));
    if (new Set(candidates.map((c) => c.digest)).size > 1 && new Set(candidates.map((c) => c.name)).size === 1) {
      return { kind: "none", available: candidates.map((c) => `${c.digest} (no platform information)`) };
    }
  }
  const digestOfName = new Map<string | undefined, string>();
  for (const { candidate } of matches) {
    if (!digestOfName.has(candidate.name)) digestOfName.set(candidate.name, candidate.digest);
  }
  if (new Set(digestOfName.values()).size > 1 && digestOfName.size > 1) {
    return { kind: "ambiguous", names: [...digestOfName.keys()].map((name) => name ?? "(no name)") };
  }
  matches.sort((a, b) => a.rank - b.rank);
  const best = matches[0];
  if (best !== undefined) return { kind: "chosen", candidate: best.candidate };
  const offered = candidates.map((c) => (c.platform === undefined ? c.digest : formatPlatform(c.platform)));
  return { kind: "none", available: [...new Set(offered)] };
}
