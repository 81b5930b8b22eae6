// Why an image has another digest than expected (docs/spec/boot.md, section 17.2): every way to make the image is tried, then every
// known cause that one tree alone can show, then a second tree is compared. Pure work on trees; nothing is written.

import type { Algorithm, ObjectId } from "../bytes/algorithm.ts";
import { ComposefsError, throwIfAborted } from "../error.ts";
import type { FormatVersion } from "../image/write.ts";
import type { ProgressListener } from "../progress.ts";
import { cloneTree } from "../tree/clone.ts";
import { diffTrees, type EntryChange } from "../tree/diff.ts";
import { unescapeField } from "../tree/dump-fields.ts";
import { isLookupFailure, pathComponents, walk } from "../tree/lookup.ts";
import { type Directory, Leaf } from "../tree/node.ts";
import { MatcherCache } from "../boot/selinux/matcher.ts";
import { type Cause, CauseCounter } from "./causes.ts";
import type { Expected } from "./expected.ts";
import type { ExplainSource } from "./source.ts";
import { SUSPICIONS, type Suspicion } from "./suspicions.ts";
import {
  describePreparation,
  describeVariant,
  PREPARATIONS,
  prepare,
  preparedId,
  type Preparation,
  type TransformName,
  type Variant,
  writers,
} from "./variants.ts";

/** A variant whose id is an expected digest. */
export interface Match {
  readonly digest: ObjectId;
  readonly variant: Variant;
  /** The variant for people. */
  readonly words: string;
}

/** A change of the tree that gives the expected digest. */
export interface SuspicionMatch extends Match, Pick<Suspicion, "id" | "says" | "remedy"> {}

/** Something that could not be tried, and why. */
export interface NotTried {
  readonly what: TransformName | Algorithm;
  readonly why: string;
}

/** The comparison with a second tree. */
export interface Comparison {
  /** Where no digest is expected: what has to be done to both trees so that they are the same. */
  readonly equalAs: readonly (Preparation & { readonly words: string })[];
  /** How the second tree gives the expected digest; undefined if it does not. */
  readonly match: Match | undefined;
  /** What was done to both trees before they were compared. */
  readonly preparation: Preparation;
  /** The preparation for people. */
  readonly words: string;
  readonly causes: readonly Cause[];
  readonly counts: Readonly<Record<EntryChange["change"], number>>;
  /** The first differing inode in the order of dumps; undefined if the trees are equal. */
  readonly first: EntryChange | undefined;
  /** The differences, as many as were asked for. The first tree of a change is the second one given: the one expected. */
  readonly entries: readonly EntryChange[];
}

/** What was found out. */
export interface Explanation {
  readonly expected: readonly Expected[];
  /** Ways to make the image that give an expected digest. */
  readonly matches: readonly Match[];
  /** The first known cause that gives it; looked for only when no way does. */
  readonly suspicion: SuspicionMatch | undefined;
  /** How many ids were computed. */
  readonly tried: number;
  readonly notTried: readonly NotTried[];
  readonly comparison: Comparison | undefined;
}

/** How to explain. */
export interface ExplainOptions {
  /** A tree that has, or should have, the expected digest. */
  readonly other?: ExplainSource | undefined;
  /** How many differences the comparison keeps; all when left out. */
  readonly limit?: number | undefined;
  /** Look for known causes even if a second tree is given; else only without one. */
  readonly suspicions?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how many ids have been tried. */
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Explains why a source does or does not give an expected digest.
 *
 * @throws ComposefsError what reading the sources causes; a transform that a tree does not fit is told in `notTried`
 */
export async function explain(
  expected: readonly Expected[],
  source: ExplainSource,
  options: ExplainOptions,
): Promise<Explanation> {
  const trial = new Trial(expected, options);
  if (expected.length > 0)
    options.onProgress?.({ type: "start", id: "ids", kind: "ids", label: `ids of ${source.name}` });
  const matches = await trial.variants(source);
  const { other, suspicions = other === undefined } = options;
  const suspicion = matches.length === 0 && suspicions ? await trial.suspicions(source) : undefined;
  const comparison = other === undefined ? undefined : await trial.compare(source, other, matches);
  if (expected.length > 0) options.onProgress?.({ type: "done", id: "ids" });
  return { expected, matches, suspicion, tried: trial.tried, notTried: trial.notTried, comparison };
}

interface Wanted {
  readonly algorithm: Algorithm;
  readonly digests: ReadonlySet<ObjectId>;
  /** The format that the argument names, if all name the same. */
  readonly format: FormatVersion | undefined;
}

class Trial {
  tried = 0;
  readonly notTried: NotTried[] = [];
  readonly #wanted: readonly Wanted[];
  readonly #matchers = new MatcherCache();
  readonly #options: ExplainOptions;

  constructor(expected: readonly Expected[], options: ExplainOptions) {
    this.#options = options;
    this.#wanted = (["sha256", "sha512"] as const).flatMap((algorithm) => {
      const of = expected.filter((one) => one.algorithm === algorithm);
      if (of.length === 0) return [];
      return [{ algorithm, digests: new Set(of.map(({ digest }) => digest)), format: of[0]?.format }];
    });
  }

  /** Every way to make the image; all that give an expected digest. */
  async variants(source: ExplainSource): Promise<Match[]> {
    const matches: Match[] = [];
    for (const wanted of this.#wanted) {
      const root = await this.#tree(source, wanted.algorithm);
      if (root === undefined) continue;
      for (const preparation of PREPARATIONS) {
        const tree = await this.#prepared(source, root, preparation);
        if (tree === undefined) continue;
        for (const writer of writers(wanted.format)) {
          const variant: Variant = { ...preparation, ...writer, algorithm: wanted.algorithm };
          const digest = this.#id(tree, wanted, variant);
          if (digest !== undefined) matches.push(match(digest, variant));
        }
      }
    }
    return matches;
  }

  /** The first known cause that gives an expected digest. */
  async suspicions(source: ExplainSource): Promise<SuspicionMatch | undefined> {
    for (const wanted of this.#wanted) {
      const root = await this.#tree(source, wanted.algorithm);
      if (root === undefined) continue;
      const found =
        (await this.#suspectResult(source, root, wanted)) ??
        (await this.#suspectTree(source, root, wanted)) ??
        (await this.#fewerLayers(source, wanted));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Causes in what a transform did: each transform is made once, which matters where labels are looked up. */
  async #suspectResult(source: ExplainSource, root: Directory, wanted: Wanted): Promise<SuspicionMatch | undefined> {
    for (const preparation of PREPARATIONS) {
      if (preparation.transform === "none") continue;
      const prepared = await this.#prepared(source, root, preparation);
      if (prepared === undefined) continue;
      for (const suspicion of SUSPICIONS) {
        if (suspicion.when === "before") continue;
        const tree = cloneTree(prepared);
        if (!suspicion.apply(tree, root)) continue;
        const found = this.#anyWriter(tree, wanted, preparation);
        if (found !== undefined) return suspected(suspicion, found);
      }
    }
    return undefined;
  }

  /** Causes in the tree itself. */
  async #suspectTree(source: ExplainSource, root: Directory, wanted: Wanted): Promise<SuspicionMatch | undefined> {
    for (const suspicion of SUSPICIONS) {
      if (suspicion.when === "after") continue;
      const changed = cloneTree(root);
      if (!suspicion.apply(changed, root)) continue;
      for (const preparation of PREPARATIONS) {
        const tree = await this.#prepared(source, changed, preparation);
        if (tree === undefined) continue;
        const found = this.#anyWriter(tree, wanted, preparation);
        if (found !== undefined) return suspected(suspicion, found);
      }
    }
    return undefined;
  }

  /** Whether the digest was computed before the last layers were added. */
  async #fewerLayers(source: ExplainSource, wanted: Wanted): Promise<SuspicionMatch | undefined> {
    for (let count = source.layers - 1; count > 0; count--) {
      const root = await source.tree(wanted.algorithm, count);
      for (const preparation of PREPARATIONS) {
        const tree = await this.#prepared(source, root, preparation, false);
        if (tree === undefined) continue;
        const found = this.#anyWriter(tree, wanted, preparation);
        if (found === undefined) continue;
        return {
          ...found,
          id: "layers-added",
          says: `there are only the lowest ${count} of the ${source.layers} layers`,
          remedy: "layers were added after the digest was computed: compute it last, of the whole image",
        };
      }
    }
    return undefined;
  }

  async compare(source: ExplainSource, other: ExplainSource, matches: readonly Match[]): Promise<Comparison> {
    const otherMatch = (await this.variants(other))[0];
    const algorithm =
      otherMatch?.variant.algorithm ?? matches[0]?.variant.algorithm ?? (await this.#common(source, other));
    const [a, b] = [await other.tree(algorithm), await source.tree(algorithm)];
    const asked = otherMatch?.variant ?? matches[0]?.variant;
    const equalAs = this.#wanted.length > 0 ? [] : await this.#equalAs(source, other, a, b, algorithm);
    // Trees that make the same image can only differ as they are; others are compared as images, if both can be ones.
    const order =
      equalAs.length > 0
        ? PREPARATIONS.slice(-1)
        : this.#wanted.length === 0
          ? PREPARATIONS.toSorted(
              (first, second) => Number(second.transform === "container") - Number(first.transform === "container"),
            )
          : asked === undefined
            ? PREPARATIONS
            : [asked, ...PREPARATIONS];
    for (const { transform, xattrs } of order) {
      const preparation: Preparation = { transform, xattrs };
      const first = await this.#prepared(other, a, preparation);
      const second = await this.#prepared(source, b, preparation);
      if (first !== undefined && second !== undefined)
        return {
          match: otherMatch,
          equalAs,
          preparation,
          words: describePreparation(preparation),
          ...this.#differences(first, second, transform !== "none"),
        };
    }
    // "none" fits every tree.
    throw new ComposefsError("internal", "no preparation fits both trees");
  }

  #differences(
    a: Directory,
    b: Directory,
    rootIsUsr: boolean,
  ): Omit<Comparison, "match" | "equalAs" | "preparation" | "words"> {
    const { limit = Infinity, signal } = this.#options;
    const counter = new CauseCounter(rootIsUsr);
    const counts = { added: 0, removed: 0, changed: 0 };
    const entries: EntryChange[] = [];
    let first: EntryChange | undefined;
    for (const entry of diffTrees(a, b)) {
      throwIfAborted(signal);
      first ??= entry;
      counts[entry.change]++;
      counter.add(entry, entry.change === "removed" && isWhiteout(a, entry.path));
      if (entries.length < limit) entries.push(entry);
    }
    return { causes: counter.causes(), counts, first, entries };
  }

  async #equalAs(
    source: ExplainSource,
    other: ExplainSource,
    a: Directory,
    b: Directory,
    algorithm: Algorithm,
  ): Promise<Comparison["equalAs"]> {
    const equal: Comparison["equalAs"][number][] = [];
    for (const preparation of PREPARATIONS) {
      const first = await this.#prepared(other, a, preparation);
      const second = await this.#prepared(source, b, preparation);
      if (first === undefined || second === undefined) continue;
      const writer = { format: 2, dialect: "rs" } as const;
      if (preparedId(first, algorithm, writer) === preparedId(second, algorithm, writer))
        equal.push({ ...preparation, words: describePreparation(preparation) });
      this.tried += 2;
    }
    return equal;
  }

  /** A hash that both trees can have digests of. */
  async #common(a: ExplainSource, b: ExplainSource): Promise<Algorithm> {
    let failure: unknown;
    for (const algorithm of [...this.#wanted.map((wanted) => wanted.algorithm), "sha512", "sha256"] as const) {
      try {
        await a.tree(algorithm);
        await b.tree(algorithm);
        return algorithm;
      } catch (error) {
        if (!isUnsupported(error)) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  async #tree(source: ExplainSource, algorithm: Algorithm): Promise<Directory | undefined> {
    try {
      return await source.tree(algorithm);
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      this.#skip({ what: algorithm, why: (error as ComposefsError).message });
      return undefined;
    }
  }

  async #prepared(
    source: ExplainSource,
    root: Directory,
    preparation: Preparation,
    tell = true,
  ): Promise<Directory | undefined> {
    throwIfAborted(this.#options.signal);
    try {
      const { signal } = this.#options;
      const mode = source.kind === "directory" ? "directory" : "repository";
      return await prepare(root, preparation, { readFile: source.readFile, mode, matchers: this.#matchers, signal });
    } catch (error) {
      if (!(error instanceof ComposefsError) || error.code === "aborted" || error.code === "internal") throw error;
      if (tell) this.#skip({ what: preparation.transform, why: `${source.name}: ${error.message}` });
      return undefined;
    }
  }

  #skip(skipped: NotTried): void {
    if (!this.notTried.some(({ what, why }) => what === skipped.what && why === skipped.why))
      this.notTried.push(skipped);
  }

  #anyWriter(tree: Directory, wanted: Wanted, preparation: Preparation): Match | undefined {
    for (const writer of writers(wanted.format)) {
      const variant: Variant = { ...preparation, ...writer, algorithm: wanted.algorithm };
      const digest = this.#id(tree, wanted, variant);
      if (digest !== undefined) return match(digest, variant);
    }
    return undefined;
  }

  #id(tree: Directory, wanted: Wanted, variant: Variant): ObjectId | undefined {
    throwIfAborted(this.#options.signal);
    this.tried++;
    this.#options.onProgress?.({ type: "advance", id: "ids", done: this.tried });
    const id = preparedId(tree, wanted.algorithm, variant);
    return wanted.digests.has(id) ? id : undefined;
  }
}

function suspected({ id, says, remedy }: Suspicion, found: Match): SuspicionMatch {
  return { ...found, id, says, remedy };
}

function match(digest: ObjectId, variant: Variant): Match {
  return { digest, variant, words: describeVariant(variant) };
}

function isUnsupported(error: unknown): boolean {
  return (error as { code?: unknown }).code === "unsupported";
}

function isWhiteout(root: Directory, escaped: string): boolean {
  const node = walk(root, pathComponents(unescapeField(escaped, "path")));
  return !isLookupFailure(node) && node instanceof Leaf && node.content.kind === "char" && node.content.rdev === 0;
}
