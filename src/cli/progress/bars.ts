// Progress on a terminal: one line per running item with bytes, rate and time left, redrawn in place. Lines never wrap.

import { formatDuration, formatSize } from "../size.ts";
import { countsBytes, type Item, RunningItems, shortName } from "./items.ts";
import type { Renderer, Screen } from "./renderer.ts";

const REDRAW_MS = 100;
const MAX_BAR = 24;
const MIN_BAR = 6;
const MAX_LINES = 8;

/** Draws bars below each other; finished items vanish, remarks stay above. */
export function barRenderer(screen: Screen): Renderer {
  const running = new RunningItems();
  let drawn = 0;
  let lastDraw = 0;
  let stopped = false;
  const timer = setInterval(() => draw(), REDRAW_MS);
  timer.unref();

  const erase = () => {
    const back = drawn > 0 ? `\u001B[${drawn}A\r\u001B[J` : "";
    drawn = 0;
    return back;
  };
  const draw = () => {
    if (stopped) return;
    lastDraw = performance.now();
    const items = running.values();
    const lines = items.slice(0, MAX_LINES).map((item) => barLine(item, running.perSecond(item), screen));
    if (items.length > MAX_LINES) lines.push(`and ${items.length - MAX_LINES} more`);
    const text = erase() + lines.map((line) => `${line}\n`).join("");
    drawn = lines.length;
    if (text !== "") screen.write(text);
  };
  const say = (message: string) => {
    screen.write(`${erase()}${message}\n`);
    draw();
  };
  return {
    listen(event) {
      if (event.type === "warning")
        return say(screen.color ? `\u001B[33mwarning:\u001B[39m ${event.message}` : `warning: ${event.message}`);
      if (event.type === "note") return say(event.message);
      running.apply(event);
      // The event loop may be too busy for the timer: events drive the drawing too.
      if (performance.now() - lastDraw >= REDRAW_MS) draw();
      return undefined;
    },
    note: say,
    stop() {
      if (stopped) return;
      stopped = true;
      clearInterval(timer);
      const back = erase();
      if (back !== "") screen.write(back);
    },
  };
}

/** One line of at most `screen.columns - 1` characters. */
export function barLine(item: Item, perSecond: number, screen: Pick<Screen, "columns" | "color">): string {
  const limit = Math.max(20, screen.columns - 1);
  let parts = [shortName(item.kind, item.label), ...facts(item, perSecond)];
  while (parts.length > 1 && parts.join("  ").length > limit) parts.pop();
  // The bar takes the room that the facts leave.
  const room = Math.min(MAX_BAR, limit - parts.join("  ").length - 4);
  if (item.total === undefined || item.total <= 0 || room < MIN_BAR) return parts.join("  ").slice(0, limit);
  const filled = Math.round(Math.min(1, item.done / item.total) * room);
  const bar = `[${"#".repeat(filled)}${"-".repeat(room - filled)}]`;
  parts = [parts[0] ?? "", screen.color ? `\u001B[36m${bar}\u001B[39m` : bar, ...parts.slice(1)];
  return parts.join("  ");
}

/** The most important first: how much, how long, how fast. */
function facts(item: Item, perSecond: number): string[] {
  const { done, total } = item;
  const bytes = countsBytes(item.kind);
  const amount = (count: number) => (bytes ? formatSize(count) : String(count));
  const found: string[] = [];
  if (total !== undefined && total > 0) found.push(`${amount(done)} / ${amount(total)}`);
  else if (done > 0) found.push(amount(done));
  if (perSecond > 0 && total !== undefined && total > done) {
    found.push(`${formatDuration(((total - done) / perSecond) * 1000)} left`);
  }
  if (perSecond > 0 && bytes) found.push(`${formatSize(Math.round(perSecond))}/s`);
  return found;
}
