// Expressions as nodes of a nondeterministic automaton (docs/spec/boot.md, section 3.4). Matching follows all nodes at once, so its time
// is the number of nodes times that of bytes at worst: there is nothing to backtrack.

import { type Assertion, type ByteSet, type Expression } from "./expression.ts";
import { ANY_BYTE } from "./byte-class.ts";
import { Refusal } from "./regex-reader.ts";

/** What a node does. */
export const Op = {
  /** Takes the byte `a`, goes on at `b`. */
  Byte: 0,
  /** Takes a byte of the set number `a`, goes on at `b`. */
  Set: 1,
  /** Takes any byte, goes on at `b`. */
  Any: 2,
  /** Goes on at `a` and at `b`. */
  Split: 3,
  /** Goes on at `b` where the assertion number `a` holds. */
  Assert: 4,
  /** Goes on at `b` where the look-around number `a` holds. */
  Look: 5,
  /** The end of rule number `a`. */
  Accept: 6,
} as const;

/** The assertions by their number. */
export const ASSERTIONS: readonly Assertion[] = [
  "start",
  "end",
  "word-boundary",
  "not-word-boundary",
  "word-start",
  "word-end",
  "line-start",
  "line-end",
];

/** The largest number of nodes of one expression, and of steps to make them. */
const MAX_NODES = 200_000;
/** The largest number of nodes of all of them. */
const MAX_ALL_NODES = 4_000_000;

/** A look-around, whose nodes are a program of their own. Look-ahead runs backwards from the end. */
export interface Look {
  readonly program: Program;
  readonly entry: number;
  readonly behind: boolean;
  readonly negative: boolean;
}

/** Nodes of one or many expressions. */
export class Program {
  readonly op: number[] = [];
  readonly a: number[] = [];
  readonly b: number[] = [];
  readonly sets: ByteSet[] = [];
  /** Inner ones come before those that they are in. */
  readonly looks: Look[];
  readonly #setNumbers = new Map<ByteSet, number>();
  readonly #backwards: boolean;
  #steps = 0;

  constructor(backwards = false, looks: Look[] = []) {
    this.#backwards = backwards;
    this.looks = looks;
  }

  get size(): number {
    return this.op.length;
  }

  /**
   * Adds an expression.
   *
   * @param rule the number that its end stands for
   * @returns the node it begins with
   * @throws Refusal when it is too large
   */
  add(expression: Expression, rule: number): number {
    this.#steps = 0;
    return this.#compile(expression, this.#node(Op.Accept, rule, 0));
  }

  #node(op: number, a: number, b: number): number {
    this.#step();
    if (this.op.length >= MAX_ALL_NODES) throw new Refusal("all expressions together are too large");
    this.op.push(op);
    this.a.push(a);
    this.b.push(b);
    return this.op.length - 1;
  }

  #step(): void {
    if (++this.#steps > MAX_NODES) throw new Refusal("it is too large: its repetitions multiply");
  }

  #compile(expression: Expression, next: number): number {
    this.#step();
    switch (expression.kind) {
      case "byte":
        return this.#node(Op.Byte, expression.value, next);
      case "set":
        return expression.members === ANY_BYTE
          ? this.#node(Op.Any, 0, next)
          : this.#node(Op.Set, this.#setNumber(expression.members), next);
      case "concat": {
        const { parts } = expression;
        let entry = next;
        if (this.#backwards) for (const part of parts) entry = this.#compile(part, entry);
        else for (let i = parts.length - 1; i >= 0; i--) entry = this.#compile(parts[i] as Expression, entry);
        return entry;
      }
      case "alternate":
        return expression.branches
          .map((branch) => this.#compile(branch, next))
          .reduce((entry, branch) => this.#node(Op.Split, entry, branch));
      case "repeat":
        return this.#repeat(expression.body, expression.min, expression.max, next);
      case "assert":
        return this.#node(Op.Assert, ASSERTIONS.indexOf(expression.what), next);
      case "look":
        return this.#node(Op.Look, this.#look(expression.body, expression.behind, expression.negative), next);
      case "group":
        return this.#compile(expression.body, next);
      default:
        throw new Refusal("back references are not for automata");
    }
  }

  #repeat(body: Expression, min: number, max: number, next: number): number {
    let entry = next;
    if (max === Infinity) {
      const loop = this.#node(Op.Split, 0, next);
      this.a[loop] = this.#compile(body, loop);
      entry = loop;
    } else {
      for (let i = min; i < max; i++) entry = this.#node(Op.Split, this.#compile(body, entry), next);
    }
    for (let i = 0; i < min; i++) entry = this.#compile(body, entry);
    return entry;
  }

  #look(body: Expression, behind: boolean, negative: boolean): number {
    const program = new Program(!behind, this.looks);
    const entry = program.add(body, 0);
    this.#steps += program.size;
    this.looks.push({ program, entry, behind, negative });
    return this.looks.length - 1;
  }

  #setNumber(members: ByteSet): number {
    let number = this.#setNumbers.get(members);
    if (number === undefined) {
      number = this.sets.length;
      this.sets.push(members);
      this.#setNumbers.set(members, number);
    }
    return number;
  }
}
