// What is running: the state behind both drawings, from the library's events.

import type { ProgressEvent, ProgressKind } from "../../index.ts";
import { Rate } from "./rate.ts";

/** One running item. */
export interface Item {
  readonly id: string;
  readonly kind: ProgressKind;
  readonly label: string;
  total: number | undefined;
  done: number;
  readonly startedAt: number;
  readonly rate: Rate;
}

/** Whether the item counts bytes (layers, images) or things (objects, files). */
export function countsBytes(kind: ProgressKind): boolean {
  return kind !== "objects" && kind !== "files" && kind !== "ids";
}

/** Follows the events of items; remarks and warnings are left to the renderer. */
export class RunningItems {
  readonly #items = new Map<string, Item>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Applies an event; returns the item it is about. A `done` without a start gives none. */
  apply(event: ProgressEvent): Item | undefined {
    if (event.type === "start") {
      const { id, kind, label, total } = event;
      const startedAt = this.#now();
      const item: Item = { id, kind, label, total, done: 0, startedAt, rate: new Rate(startedAt) };
      this.#items.set(id, item);
      return item;
    }
    if (event.type === "note" || event.type === "warning") return undefined;
    const item = this.#items.get(event.id);
    if (item === undefined) return undefined;
    if (event.type === "done") {
      this.#items.delete(event.id);
      return item;
    }
    item.done = event.done;
    item.rate.update(item.done, this.#now());
    if (event.total !== undefined) item.total = event.total;
    return item;
  }

  /** The items that are running, oldest first. */
  values(): Item[] {
    return [...this.#items.values()];
  }

  /** How much of the item is done per second, by what was seen of late. */
  perSecond(item: Item): number {
    return item.rate.perSecond(this.#now());
  }

  /** Milliseconds since the item started. */
  elapsed(item: Item): number {
    return this.#now() - item.startedAt;
  }
}

/** What an item is called on screen: digests cut to the twelve digits that tell layers apart. */
export function shortName(kind: ProgressKind, label: string): string {
  const short = label
    .replace(/\b(?:sha256|sha512):([0-9a-f]{12})[0-9a-f]{52,}/g, "$1")
    .replace(/\b([0-9a-f]{12})[0-9a-f]{52,}\b/g, "$1");
  return /^[0-9a-f]{12}$/.test(short) ? `${kind} ${short}` : short;
}
