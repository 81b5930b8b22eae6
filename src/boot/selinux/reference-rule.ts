// Rules with back references (docs/spec/boot.md, section 3.4): what an automaton cannot do. They backtrack, within the bound of all the
// work and of the stack; nobody has such rules.

import type { ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import { holds, type SingleRule } from "./assertion-rule.ts";
import { otherCase } from "./byte-class.ts";
import type { Expression } from "./expression.ts";
import type { Work } from "./work.ts";

/** What one step of backtracking costs, compared with one of an automaton. */
const STEP = 16;

type Continue = (position: number) => boolean;

/** Prepares an expression with back references. */
export function referenceRule(expression: Expression): SingleRule {
  return {
    matches: (subject, work) => new Backtracker(subject, work).matches(expression),
  };
}

class Backtracker {
  readonly #subject: ByteString;
  readonly #work: Work;
  readonly #groups: ([number, number] | undefined)[] = [];

  constructor(subject: ByteString, work: Work) {
    this.#subject = subject;
    this.#work = work;
  }

  matches(expression: Expression): boolean {
    try {
      return this.#match(expression, 0, (position) => position === this.#subject.length - 1);
    } catch (error) {
      // The stack is what limits how far it looks ahead.
      if (!(error instanceof RangeError)) throw error;
      throw new ComposefsError("limit", "a path is too long for a regular expression with back references", {
        path: "/etc/selinux",
        cause: error,
        hint: "write the rule without back references",
      });
    }
  }

  #match(expression: Expression, position: number, then: Continue): boolean {
    this.#work.take(STEP);
    return this.#kind(expression, position, then);
  }

  #kind(expression: Expression, position: number, then: Continue): boolean {
    const subject = this.#subject;
    switch (expression.kind) {
      case "byte":
        return subject.charCodeAt(position) === expression.value && then(position + 1);
      case "set":
        return expression.members[subject.charCodeAt(position)] === 1 && then(position + 1);
      case "concat":
        return this.#sequence(expression.parts, 0, position, then);
      case "alternate":
        return expression.branches.some((branch) => this.#match(branch, position, then));
      case "repeat":
        return this.#repeat(expression, 0, position, then);
      case "assert":
        return holds(expression.what, subject, position) && then(position);
      case "look":
        return this.#look(expression, position, then);
      case "group":
        return this.#group(expression.number, expression.body, position, then);
      default:
        return this.#reference(expression.number, expression.fold, position, then);
    }
  }

  #sequence(parts: readonly Expression[], index: number, position: number, then: Continue): boolean {
    const part = parts[index];
    if (part === undefined) return then(position);
    return this.#match(part, position, (next) => this.#sequence(parts, index + 1, next, then));
  }

  #repeat(repeat: Extract<Expression, { kind: "repeat" }>, count: number, position: number, then: Continue): boolean {
    const more = () =>
      count < repeat.max &&
      this.#match(
        repeat.body,
        position,
        // A round that takes nothing is not repeated for ever.
        (next) => (next > position || count < repeat.min) && this.#repeat(repeat, count + 1, next, then),
      );
    if (count < repeat.min) return more();
    return repeat.lazy ? then(position) || more() : more() || then(position);
  }

  #group(number: number, body: Expression, position: number, then: Continue): boolean {
    const before = this.#groups[number];
    const isMatch = this.#match(body, position, (next) => {
      const inside = this.#groups[number];
      this.#groups[number] = [position, next];
      if (then(next)) return true;
      this.#groups[number] = inside;
      return false;
    });
    if (!isMatch) this.#groups[number] = before;
    return isMatch;
  }

  #look(look: Extract<Expression, { kind: "look" }>, position: number, then: Continue): boolean {
    const before = [...this.#groups];
    let found = false;
    if (look.behind) {
      for (let start = position; start >= 0 && !found; start--)
        found = this.#match(look.body, start, (end) => end === position);
    } else found = this.#match(look.body, position, () => true);
    if (look.negative && found) this.#groups.splice(0, Infinity, ...before);
    return found !== look.negative && then(position);
  }

  #reference(number: number, fold: boolean, position: number, then: Continue): boolean {
    const group = this.#groups[number];
    if (group === undefined) return false;
    const [start, end] = group;
    for (let i = start; i < end; i++) {
      const wanted = this.#subject.charCodeAt(i);
      const byte = this.#subject.charCodeAt(position + i - start);
      if (byte !== wanted && !(fold && byte === otherCase(wanted))) return false;
    }
    return then(position + end - start);
  }
}
