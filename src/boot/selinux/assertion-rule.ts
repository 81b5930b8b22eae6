// Rules with look-around or word boundaries (docs/spec/boot.md, section 3.4), each an automaton of its own. Where a look-around holds is
// found out for all positions at once, look-ahead from the end backwards; then the rule itself runs. Still linear.

import type { ByteString } from "../../bytes/byte-string.ts";
import { WORD_BYTES } from "./byte-class.ts";
import type { Assertion, Expression } from "./expression.ts";
import { ASSERTIONS, type Look, Op, Program } from "./program.ts";
import type { Work } from "./work.ts";

const NEWLINE = 10;

/** Whether an assertion holds before the byte at a position. */
export function holds(what: Assertion, subject: ByteString, position: number): boolean {
  const before = position > 0 && WORD_BYTES[subject.charCodeAt(position - 1)] === 1;
  const after = position < subject.length && WORD_BYTES[subject.charCodeAt(position)] === 1;
  switch (what) {
    case "start":
      return position === 0;
    case "end":
      return position === subject.length;
    case "word-boundary":
      return before !== after;
    case "not-word-boundary":
      return before === after;
    case "word-start":
      return !before && after;
    case "word-end":
      return before && !after;
    case "line-start":
      return position === 0 || subject.charCodeAt(position - 1) === NEWLINE;
    default:
      return position === subject.length || subject.charCodeAt(position) === NEWLINE;
  }
}

/** A rule that is matched by itself. */
export interface SingleRule {
  /**
   * Whether it matches.
   *
   * @param subject a path and its type byte
   */
  readonly matches: (subject: ByteString, work: Work) => boolean;
}

/** Compiles an expression without back references. */
export function assertionRule(expression: Expression): SingleRule {
  const program = new Program();
  const entry = program.add(expression, 0);
  return {
    matches(subject, work) {
      const looks: Uint8Array[] = [];
      for (const look of program.looks) looks.push(whereLookHolds(look, subject, looks, work));
      const run = new Run(program, subject, looks, work);
      const end = subject.length - 1;
      run.enter(entry, 0);
      for (let position = 0; position < end; position++) run.take(position, position + 1);
      return run.accepts;
    },
  };
}

/** By position, 1 where it holds. */
function whereLookHolds(
  { program, entry, behind, negative }: Look,
  subject: ByteString,
  looks: readonly Uint8Array[],
  work: Work,
): Uint8Array {
  const result = new Uint8Array(subject.length + 1);
  const run = new Run(program, subject, looks, work);
  const first = behind ? 0 : subject.length;
  const step = behind ? 1 : -1;
  run.enter(entry, first);
  for (let position = first; ; position += step) {
    result[position] = Number(run.accepts !== negative);
    const next = position + step;
    if (next < 0 || next > subject.length) return result;
    run.take(Math.min(position, next), next);
    run.enter(entry, next);
  }
}

/** All nodes in which a match can be at a position. */
class Run {
  readonly #program: Program;
  readonly #subject: ByteString;
  readonly #looks: readonly Uint8Array[];
  readonly #work: Work;
  readonly #seen: Int32Array;
  #epoch = 1;
  #nodes: number[] = [];
  /** Whether a match ends here. */
  accepts = false;

  constructor(program: Program, subject: ByteString, looks: readonly Uint8Array[], work: Work) {
    this.#program = program;
    this.#subject = subject;
    this.#looks = looks;
    this.#work = work;
    this.#seen = new Int32Array(program.size);
    work.take(program.size);
  }

  /** Takes the byte at an index, which leads to a position. */
  take(index: number, position: number): void {
    const { op, a, b, sets } = this.#program;
    const byte = this.#subject.charCodeAt(index);
    const before = this.#nodes;
    this.#nodes = [];
    this.#epoch++;
    this.accepts = false;
    for (const node of before) {
      const isTaken =
        op[node] === Op.Any || (op[node] === Op.Byte ? a[node] === byte : sets[a[node] as number]?.[byte] === 1);
      if (isTaken) this.enter(b[node] as number, position);
    }
    this.#work.take(before.length + 1);
  }

  /** Adds a node and all that it leads to at a position. */
  enter(node: number, position: number): void {
    const { op, a, b } = this.#program;
    const stack = [node];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (this.#seen[at] === this.#epoch) continue;
      this.#seen[at] = this.#epoch;
      this.#work.take(1);
      switch (op[at]) {
        case Op.Split:
          stack.push(a[at] as number, b[at] as number);
          break;
        case Op.Assert:
          if (holds(ASSERTIONS[a[at] as number] ?? "end", this.#subject, position)) stack.push(b[at] as number);
          break;
        case Op.Look:
          if (this.#looks[a[at] as number]?.[position] === 1) stack.push(b[at] as number);
          break;
        case Op.Accept:
          this.accepts = true;
          break;
        default:
          this.#nodes.push(at);
      }
    }
  }
}
