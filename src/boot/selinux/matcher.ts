// The rules of a policy, ready to be asked (docs/spec/boot.md, section 3.4): the last rule that matches a path and its type wins.

import type { ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { assertionRule, type SingleRule } from "./assertion-rule.ts";
import { literalPrefix, needOf } from "./expression.ts";
import { Program } from "./program.ts";
import { referenceRule } from "./reference-rule.ts";
import { parseRegex } from "./regex-parse.ts";
import { Refusal } from "./regex-reader.ts";
import { type AutomatonState, RuleAutomaton } from "./rule-automaton.ts";
import { Work } from "./work.ts";

/** A line of file_contexts. */
export interface Rule {
  /** Bytes of the regular expression. */
  readonly regex: ByteString;
  /** The type byte (`-`, `d`, `l`, `c`, `b`, `p` or `s`); undefined for all types. */
  readonly type: string | undefined;
  /** The label; undefined for `<<none>>`. */
  readonly context: ByteString | undefined;
  /** Path of the file in the image. */
  readonly file: string;
  /** Its line, counted from 1. */
  readonly line: number;
}

interface Single {
  readonly number: number;
  readonly type: string | undefined;
  readonly prefix: ByteString;
  readonly rule: SingleRule;
}

/** Compiled rules. */
export class Matcher {
  readonly #automaton: RuleAutomaton;
  /** Rules that the automaton cannot hold, the last one first. */
  readonly #singles: readonly Single[];
  readonly #rules: readonly Rule[];
  readonly #work: Work;

  /**
   * @param rules in reading order
   * @param work bounds the steps of matching
   * @param cacheBytes bounds the memory of the automaton's states; what it is when left out
   * @throws ComposefsError `invalid` with the reason `selinux-bad-regex`, `path` and `line`
   */
  constructor(rules: readonly Rule[], work: Work = new Work(), cacheBytes?: number) {
    const program = new Program();
    const entries: { first: number; entry: number }[] = [];
    const singles: Single[] = [];
    for (const [number, rule] of rules.entries()) {
      try {
        const expression = parseRegex(rule.regex);
        const need = needOf(expression);
        if (need === "automaton") {
          const first = program.size;
          entries.push({ first, entry: program.add(expression, number) });
        } else {
          const single = need === "assertions" ? assertionRule(expression) : referenceRule(expression);
          singles.push({ number, type: rule.type, prefix: literalPrefix(expression), rule: single });
        }
      } catch (error) {
        throw error instanceof Refusal ? badRegex(rule, error) : error;
      }
    }
    this.#rules = rules;
    this.#work = work;
    this.#singles = singles.reverse();
    const types = rules.map(({ type }) => type?.charCodeAt(0) ?? 0);
    this.#automaton = new RuleAutomaton(program, entries, types, work, cacheBytes);
  }

  /** Whether {@link lookup} looks at the path. */
  get needsPaths(): boolean {
    return this.#singles.length > 0;
  }

  /** The state before the first byte of a path. */
  get start(): AutomatonState {
    return this.#automaton.start;
  }

  /** The state after more bytes. */
  walk(from: AutomatonState, bytes: ByteString): AutomatonState {
    return this.#automaton.walk(from, bytes);
  }

  /**
   * The rule for a path; undefined when none matches.
   *
   * @param state the state after the path
   * @param path the path, if {@link needsPaths}
   * @param type its type byte
   */
  lookup(state: AutomatonState, path: ByteString, type: string): Rule | undefined {
    let best = this.#automaton.best(state, type.charCodeAt(0));
    for (const { number, type: wanted, prefix, rule } of this.#singles) {
      if (number < best) break;
      this.#work.take(1);
      if ((wanted !== undefined && wanted !== type) || !path.startsWith(prefix)) continue;
      if (!rule.matches(path + type, this.#work)) continue;
      best = number;
      break;
    }
    return this.#rules[best];
  }
}

/** Keeps the rules that were compiled last: trees that are labelled one after the other mostly have the same policy. */
export class MatcherCache {
  #rules: readonly Rule[] = [];
  #matcher: Matcher | undefined;

  /** The compiled rules. @throws ComposefsError as {@link Matcher} */
  get(rules: readonly Rule[]): Matcher {
    if (this.#matcher !== undefined && sameRules(this.#rules, rules)) return this.#matcher;
    this.#matcher = new Matcher(rules);
    this.#rules = rules;
    return this.#matcher;
  }
}

function sameRules(a: readonly Rule[], b: readonly Rule[]): boolean {
  const same = (one: Rule, other: Rule | undefined) =>
    one.regex === other?.regex && one.type === other.type && one.context === other.context;
  return a.length === b.length && a.every((rule, index) => same(rule, b[index]));
}

function badRegex({ regex, file, line }: Rule, refusal: Refusal): ComposefsError {
  const shown = JSON.stringify(Buffer.from(regex, "latin1").toString("utf8"));
  return new ComposefsError("invalid", `${file}, line ${line}: the regular expression ${shown}: ${refusal.message}`, {
    path: file,
    line,
    reason: "selinux-bad-regex",
    cause: refusal,
    hint: "labels that cannot be computed for certain are not made up: correct the line or remove it",
  });
}
