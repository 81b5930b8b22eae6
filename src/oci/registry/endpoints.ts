// Where the images of a name are asked for (docs/spec/oci.md, section 3.2): the mirrors that the host's rules have for it, then the
// registry itself, perhaps elsewhere.

import { ComposefsError } from "../../error.ts";
import { registryHost, type RegistryName } from "../reference.ts";
import type { RegistryRule } from "./registries-conf.ts";

/** A place to ask. */
export interface Endpoint {
  /** The name there. */
  readonly name: RegistryName;
  /** Certificates are not verified, and plain http is good enough. */
  readonly insecure: boolean;
  readonly isMirror: boolean;
}

/**
 * The places for a name, in the order in which they are tried. There is at least one, and the last is the registry itself.
 *
 * @throws ComposefsError `permission` when a rule blocks it
 */
export function endpointsOf(rules: readonly RegistryRule[], name: RegistryName): Endpoint[] {
  const full = `${name.domain}/${name.path}`;
  const rule = ruleFor(rules, name);
  if (rule === undefined) return [{ name, insecure: false, isMirror: false }];
  if (rule.blocked)
    throw new ComposefsError("permission", `the registry ${rule.prefix} is blocked by ${rule.path}`, {
      path: rule.path,
      hint: "pull the image from another registry, or have the rule changed",
    });
  const rest = full.slice(matchedLength(rule.prefix, name));
  const kind = name.digest === undefined ? "tag-only" : "digest-only";
  return [
    ...rule.mirrors
      .filter(({ pulls }) => pulls === "all" || pulls === kind)
      .map(({ location, insecure }) => ({ name: nameAt(location + rest, name, rule.path), insecure, isMirror: true })),
    {
      name: rule.location === undefined ? name : nameAt(rule.location + rest, name, rule.path),
      insecure: rule.insecure,
      isMirror: false,
    },
  ];
}

/** The rule with the longest prefix. */
function ruleFor(rules: readonly RegistryRule[], name: RegistryName): RegistryRule | undefined {
  let best: RegistryRule | undefined;
  for (const rule of rules) {
    if (matchedLength(rule.prefix, name) === 0) continue;
    if (best === undefined || rule.prefix.length > best.prefix.length) best = rule;
  }
  return best;
}

/** How much of a name, without tag and digest, a prefix stands for; 0 when it does not match. */
function matchedLength(prefix: string, { domain, path, tag, digest }: RegistryName): number {
  if (prefix.startsWith("*.")) return domain.replace(/:\d+$/, "").endsWith(prefix.slice(1)) ? domain.length : 0;
  const full = `${domain}/${path}`;
  // The digest counts where there are both.
  if (prefix === (digest === undefined ? `${full}:${tag}` : `${full}@${digest}`)) return full.length;
  return full === prefix || full.startsWith(`${prefix}/`) ? prefix.length : 0;
}

function nameAt(location: string, { tag, digest }: RegistryName, path: string): RegistryName {
  const slash = location.indexOf("/");
  if (slash < 0)
    throw new ComposefsError("invalid", `${path} names a whole registry, ${location}, for a single repository`, {
      path,
      hint: "write the path of the repository there into its location",
    });
  const domain = location.slice(0, slash);
  return {
    domain,
    host: registryHost(domain),
    path: location.slice(slash + 1),
    tag,
    digest,
  };
}
