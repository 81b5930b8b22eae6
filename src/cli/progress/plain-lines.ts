// Progress for logs: one line when an item is done, and a sign of life every ten seconds while it runs.

import { formatDuration, formatSize } from "../size.ts";
import { countsBytes, type Item, RunningItems, shortName } from "./items.ts";
import type { Renderer, Screen } from "./renderer.ts";

const SIGN_OF_LIFE_MS = 10_000;

/** What of the events is printed; warnings always are. */
export interface PlainOptions {
  readonly items: boolean;
  readonly notes: boolean;
}

/** Writes whole lines and nothing that needs a terminal. */
export function plainRenderer(screen: Screen, options: PlainOptions): Renderer {
  const running = new RunningItems();
  const lastLine = new Map<string, number>();
  const say = (text: string) => screen.write(`${text}\n`);
  const amount = (item: Item, count: number) => (countsBytes(item.kind) ? formatSize(count) : `${count} ${item.kind}`);
  return {
    listen(event) {
      if (event.type === "warning") return say(`warning: ${event.message}`);
      if (event.type === "note") return options.notes ? say(event.message) : undefined;
      const item = running.apply(event);
      if (!options.items) return undefined;
      if (item === undefined) {
        // What is there already is reported without a start.
        return event.type === "done" && event.skipped
          ? say(`${shortName("layer", event.id)}: already present`)
          : undefined;
      }
      const name = shortName(item.kind, item.label);
      if (event.type === "done") {
        lastLine.delete(item.id);
        const count = item.total ?? item.done;
        return say(
          event.skipped
            ? `${name}: already present`
            : `${name}: ${count > 0 ? `${amount(item, count)} in ` : "done in "}${formatDuration(running.elapsed(item))}`,
        );
      }
      const elapsed = running.elapsed(item);
      if (event.type === "advance" && elapsed - (lastLine.get(item.id) ?? 0) >= SIGN_OF_LIFE_MS) {
        lastLine.set(item.id, elapsed);
        const of = item.total === undefined ? "" : ` of ${amount(item, item.total)}`;
        say(`${name}: ${amount(item, item.done)}${of} after ${formatDuration(elapsed)}`);
      }
      return undefined;
    },
    note(message) {
      if (options.notes) say(message);
    },
    stop: () => undefined,
  };
}
