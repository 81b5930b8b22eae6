// Where the labels of an image are other ones than the running system would give (docs/spec/boot.md, section 3.6): libselinux prefers
// rules without meta characters and those of `.local`, lets `$` end a rule, and replaces aliases by prefix. The labels of the image are
// what its id depends on; this only tells.

import type { ByteString } from "../../bytes/byte-string.ts";
import { compareBytes } from "../../bytes/byte-string.ts";
import { Directory } from "../../tree/node.ts";
import { AliasIndex } from "./aliases.ts";
import { typeByte } from "./label.ts";
import { Matcher, type Rule } from "./matcher.ts";
import type { Policy } from "./policy.ts";

/** Why libselinux gives another label. */
export type LabelCause = "exact-rule" | "local-rule" | "dollar" | "alias" | "other";

/** A path whose label differs. */
export interface LabelDifference {
  readonly path: ByteString;
  /** Its label in the image; undefined for none. */
  readonly label: ByteString | undefined;
  /** The label that libselinux gives; undefined for none. */
  readonly expected: ByteString | undefined;
  readonly cause: LabelCause;
  /** The rule that the image was labelled by; undefined when none matches. */
  readonly rule: Rule | undefined;
  /** The rule that libselinux chooses; undefined when none matches. */
  readonly expectedRule: Rule | undefined;
}

/**
 * Compares the labels that a policy gives the files of a tree with those of libselinux.
 *
 * @returns every path with a difference, in the order of paths
 * @throws ComposefsError as `labelTree`
 * @example
 * ```ts
 * for (const { path, label, expected } of lintLabels(root, policy)) console.warn(path, label, expected);
 * ```
 */
export function lintLabels(root: Directory, policy: Policy): LabelDifference[] {
  const ours = new Matcher(policy.rules);
  const order = libselinuxOrder(policy.rules);
  const theirs = new Matcher(order.map(withoutDollar));
  const written = new Map(order.map((rule) => [`${rule.line} ${rule.file}`, rule]));
  const index = new AliasIndex(policy.aliases);
  const differences: LabelDifference[] = [];
  const check = (path: ByteString, effective: ByteString, type: string): void => {
    const key = libselinuxPath(path, policy.aliasFiles);
    const rule = ours.lookup(ours.walk(ours.start, effective), effective, type);
    const matched = theirs.lookup(theirs.walk(theirs.start, key), key, type);
    const expectedRule = matched && written.get(`${matched.line} ${matched.file}`);
    if (rule?.context === expectedRule?.context) return;
    const cause = causeOf(rule, expectedRule, key !== effective);
    differences.push({ path, label: rule?.context, expected: expectedRule?.context, cause, rule, expectedRule });
  };
  check("/", "/", "d");
  const pending: { directory: Directory; path: ByteString; effective: ByteString }[] = [
    { directory: root, path: "/", effective: "/" },
  ];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const path = withSlash(next.path);
    const effective = withSlash(next.effective);
    const aliases = index.of(effective);
    for (const [name, node] of next.directory.entries) {
      const place = { path: path + name, effective: aliases?.get(name) ?? effective + name };
      check(place.path, place.effective, typeByte(node));
      if (node instanceof Directory) pending.push({ directory: node, ...place });
    }
  }
  return differences.sort((a, b) => compareBytes(a.path, b.path));
}

const withSlash = (path: ByteString) => (path.endsWith("/") ? path : `${path}/`);

/** In the order in which a later one wins: `.local` last, then all rules without meta characters. */
function libselinuxOrder(rules: readonly Rule[]): Rule[] {
  const isLocal = ({ file }: Rule) => file.endsWith(".local");
  const read = [...rules.filter((rule) => !isLocal(rule)), ...rules.filter(isLocal)];
  return [
    ...read.filter(({ regex }) => hasMetaCharacters(regex)),
    ...read.filter(({ regex }) => !hasMetaCharacters(regex)),
  ];
}

function withoutDollar(rule: Rule): Rule {
  return endsInDollar(rule) ? { ...rule, regex: rule.regex.slice(0, -1) } : rule;
}

function hasMetaCharacters(regex: ByteString): boolean {
  return /[.^$?*+|[({]/.test(regex.replace(/\\./gs, ""));
}

function endsInDollar({ regex }: Rule): boolean {
  return regex.replace(/\\./gs, "").endsWith("$") && regex.endsWith("$");
}

/** The path that libselinux looks up: the first alias that is the path or a directory above it, of each file in turn. */
function libselinuxPath(path: ByteString, files: readonly ReadonlyMap<ByteString, ByteString>[]): ByteString {
  let key = path;
  for (const aliases of files) {
    for (let end = key.length; end > 0; end = key.lastIndexOf("/", end - 1)) {
      const target = aliases.get(key.slice(0, end));
      if (target === undefined) continue;
      key = target + key.slice(target === "/" && end < key.length ? end + 1 : end);
      break;
    }
  }
  return key;
}

function causeOf(rule: Rule | undefined, expected: Rule | undefined, isOtherPath: boolean): LabelCause {
  if (isOtherPath) return "alias";
  if (expected !== undefined && endsInDollar(expected)) return "dollar";
  if (expected?.file.endsWith(".local") === true && rule?.file.endsWith(".homedirs") === true) return "local-rule";
  return expected !== undefined && !hasMetaCharacters(expected.regex) ? "exact-rule" : "other";
}
