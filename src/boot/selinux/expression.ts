// What a regular expression of file_contexts says (docs/spec/boot.md, section 3.4): the output of the parser, over bytes.

/** Members of a byte class: 256 entries, 1 where the byte is in it. */
export type ByteSet = Uint8Array;

/** Conditions on a position between two bytes; they consume nothing. `end` is after the type byte, so nothing of a rule reaches it. */
export type Assertion =
  | "start"
  | "end"
  | "word-boundary"
  | "not-word-boundary"
  | "word-start"
  | "word-end"
  | "line-start"
  | "line-end";

/** A parsed expression. */
export type Expression =
  | { readonly kind: "byte"; readonly value: number }
  | { readonly kind: "set"; readonly members: ByteSet }
  | { readonly kind: "concat"; readonly parts: readonly Expression[] }
  | { readonly kind: "alternate"; readonly branches: readonly Expression[] }
  | {
      readonly kind: "repeat";
      readonly body: Expression;
      readonly min: number;
      /** Infinity when there is no upper bound. */
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: "assert"; readonly what: Assertion }
  | { readonly kind: "look"; readonly body: Expression; readonly behind: boolean; readonly negative: boolean }
  | { readonly kind: "group"; readonly number: number; readonly body: Expression }
  | { readonly kind: "reference"; readonly number: number; readonly fold: boolean };

/** The expression that matches the empty text. */
export const EMPTY: Expression = { kind: "concat", parts: [] };

/** What the parts of an expression need: plain ones go into one automaton, the others are tried one by one. */
export type Need = "automaton" | "assertions" | "references";

/** What it takes to match an expression. */
export function needOf(expression: Expression): Need {
  let need: Need = "automaton";
  const pending: Expression[] = [expression];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    switch (next.kind) {
      case "concat":
        pending.push(...next.parts);
        break;
      case "alternate":
        pending.push(...next.branches);
        break;
      case "repeat":
      case "group":
        pending.push(next.body);
        break;
      case "look":
        need = "assertions";
        pending.push(next.body);
        break;
      case "assert":
        // The automaton knows where a path begins; its end is never reached inside a rule.
        if (next.what !== "start" && next.what !== "end") need = "assertions";
        break;
      case "reference":
        return "references";
      default:
    }
  }
  return need;
}

/** The bytes that every match begins with, as far as that is plain to see. */
export function literalPrefix(expression: Expression): string {
  let prefix = "";
  const pending: Expression[] = [expression];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (next.kind === "byte") prefix += String.fromCharCode(next.value);
    else if (next.kind === "concat") for (const part of next.parts.toReversed()) pending.push(part);
    else if (next.kind === "group") pending.push(next.body);
    else if (!(next.kind === "assert" && next.what === "start")) break;
  }
  return prefix;
}
