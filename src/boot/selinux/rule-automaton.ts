// All rules of a policy as one automaton (docs/spec/boot.md, section 3.4). Sets of nodes become states when a path first leads there,
// and are kept: a directory's state is where the paths of its children begin, so that a tree is matched in about one step for each byte
// of its names. Memory is bounded; what was kept is dropped when it is full.

import type { ByteString } from "../../bytes/byte-string.ts";
import { ASSERTIONS, Op, type Program } from "./program.ts";
import type { Work } from "./work.ts";

/** What the kept states may take, in bytes, roughly. */
const CACHE_BYTES = 96 << 20;
const STATE_BYTES = 256;
const TRANSITION_BYTES = 64;

const START = ASSERTIONS.indexOf("start");

/** Where a path has led to. */
export class AutomatonState {
  /** Sorted nodes that take a byte or accept. */
  readonly nodes: Int32Array;
  /** The first transition that was needed; most states have one or none. */
  byte = -1;
  to: AutomatonState | undefined;
  others: Map<number, AutomatonState> | undefined;
  /** The last rule that matches here, by the code of the type; -1 for none. */
  best: Map<number, number> | undefined;

  constructor(nodes: Int32Array) {
    this.nodes = nodes;
  }
}

/** The rules of a policy, as far as they are regular. */
export class RuleAutomaton {
  readonly #program: Program;
  /** Code of the type byte by rule number; 0 for any. */
  readonly #types: readonly number[];
  readonly #work: Work;
  /** The first node of the rule that a node belongs to. */
  readonly #ruleStart: Int32Array;
  /** By node: 0 not known, 1 whatever follows, its rule matches, 2 not so. */
  readonly #universal: Uint8Array;
  readonly #seen: Int32Array;
  #epoch = 0;
  readonly #stack: number[] = [];
  #found: number[] = [];
  readonly #states = new Map<number, AutomatonState[]>();
  #bytes = 0;
  readonly #limit: number;
  /** The state before the first byte of a path. */
  readonly start: AutomatonState;

  /**
   * @param entries the first node and the entry node of each rule that is in the program, in their order
   * @param types the code of the type byte by rule number, 0 for any
   */
  constructor(
    program: Program,
    entries: readonly { readonly first: number; readonly entry: number }[],
    types: readonly number[],
    work: Work,
    limit: number = CACHE_BYTES,
  ) {
    this.#program = program;
    this.#types = types;
    this.#work = work;
    this.#limit = limit;
    this.#seen = new Int32Array(program.size);
    this.#universal = new Uint8Array(program.size);
    this.#ruleStart = new Int32Array(program.size);
    for (const [i, { first }] of entries.entries())
      this.#ruleStart.fill(first, first, entries[i + 1]?.first ?? program.size);
    this.#begin();
    for (const { entry } of entries) this.#close(entry, true);
    this.start = this.#state();
  }

  /** The state after more bytes of a path. */
  walk(from: AutomatonState, bytes: ByteString): AutomatonState {
    let state = from;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes.charCodeAt(i);
      if (state.byte === byte) state = state.to as AutomatonState;
      else state = state.others?.get(byte) ?? this.#make(state, byte);
    }
    return state;
  }

  /** The number of the last rule that matches a path which ends here; -1 for none. */
  best(state: AutomatonState, type: number): number {
    state.best ??= new Map();
    let best = state.best.get(type);
    if (best === undefined) {
      best = this.#lastRule(state, type);
      state.best.set(type, best);
    }
    return best;
  }

  #lastRule({ nodes }: AutomatonState, type: number): number {
    const { op, a } = this.#program;
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i] as number;
      if (op[node] !== Op.Accept) continue;
      const rule = a[node] as number;
      const wanted = this.#types[rule];
      if (wanted === 0 || wanted === type) return rule;
    }
    return -1;
  }

  #make(state: AutomatonState, byte: number): AutomatonState {
    const { op, a, b, sets } = this.#program;
    this.#begin();
    for (const node of state.nodes) {
      switch (op[node]) {
        case Op.Byte:
          if (a[node] === byte) this.#close(b[node] as number, false);
          break;
        case Op.Set:
          if (sets[a[node] as number]?.[byte] === 1) this.#close(b[node] as number, false);
          break;
        case Op.Any:
          this.#close(b[node] as number, false);
          break;
        default:
      }
    }
    this.#work.take(state.nodes.length);
    const next = this.#state();
    this.#bytes += TRANSITION_BYTES;
    if (state.byte < 0) {
      state.byte = byte;
      state.to = next;
    } else {
      state.others ??= new Map();
      state.others.set(byte, next);
    }
    return next;
  }

  #begin(): void {
    this.#epoch++;
    this.#found = [];
  }

  /** Adds a node and what it leads to without taking a byte. */
  #close(node: number, atStart: boolean): void {
    const { op, a, b } = this.#program;
    const seen = this.#seen;
    const stack = this.#stack;
    stack.push(node);
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (seen[at] === this.#epoch) continue;
      seen[at] = this.#epoch;
      this.#work.take(1);
      if (op[at] === Op.Split) stack.push(a[at] as number, b[at] as number);
      // The end of a path is never reached inside a rule: the type byte follows.
      else if (op[at] !== Op.Assert) this.#found.push(at);
      else if (atStart && a[at] === START) stack.push(b[at] as number);
    }
  }

  /** The kept state of what was found, or a new one. */
  #state(): AutomatonState {
    let nodes = Int32Array.from(this.#found).sort();
    const hidden = this.#hidden(nodes);
    if (hidden > 0) nodes = nodes.slice(hidden);
    const hash = hashOf(nodes);
    const same = this.#states.get(hash) ?? [];
    for (const state of same) if (equal(state.nodes, nodes)) return state;
    const state = new AutomatonState(nodes);
    this.#bytes += STATE_BYTES + 4 * nodes.length;
    if (this.#bytes > this.#limit) this.#forget();
    const list = this.#states.get(hash);
    if (list === undefined) this.#states.set(hash, [state]);
    else list.push(state);
    return state;
  }

  /** States that somebody holds stay usable, but hold nothing themselves. */
  #forget(): void {
    for (const states of this.#states.values()) {
      for (const state of states) {
        state.byte = -1;
        state.to = undefined;
        state.others = undefined;
      }
    }
    this.#states.clear();
    this.#bytes = 0;
  }

  /** How many nodes at the beginning belong to rules that cannot win any more: a later one matches whatever follows. */
  #hidden(nodes: Int32Array): number {
    const { op } = this.#program;
    for (let i = nodes.length - 1; i > 0; i--) {
      const node = nodes[i] as number;
      if (op[node] !== Op.Any || !this.#isUniversal(node)) continue;
      const first = this.#ruleStart[node] as number;
      let hidden = i;
      while (hidden > 0 && (nodes[hidden - 1] as number) >= first) hidden--;
      // It must match here, too. Its first node is its end.
      if (nodes[hidden] === first) return hidden;
    }
    return 0;
  }

  /** Whether a node that takes any byte leads to itself and to the end of a rule for all types: `.*` at the end of one. */
  #isUniversal(node: number): boolean {
    const known = this.#universal[node];
    if (known !== 0) return known === 1;
    const { op, a, b } = this.#program;
    const found = this.#found;
    this.#begin();
    this.#close(b[node] as number, false);
    const isUniversal =
      this.#found.includes(node) &&
      this.#found.some((at) => op[at] === Op.Accept && this.#types[a[at] as number] === 0);
    this.#found = found;
    this.#universal[node] = isUniversal ? 1 : 2;
    return isUniversal;
  }
}

function hashOf(nodes: Int32Array): number {
  let hash = nodes.length;
  for (const node of nodes) hash = (Math.imul(hash, 0x01000193) ^ node) | 0;
  return hash;
}

function equal(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
