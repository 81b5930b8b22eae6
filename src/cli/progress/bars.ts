// Progress on a terminal: one line per running item with bytes, rate and time left, redrawn in place. Lines never wrap.

import { formatDuration, formatSize } from "../size.ts";
import { countsBytes, type Item, RunningItems, shortName } from "./items.ts";
import type { Renderer, Screen } from "./renderer.ts";

const REDRAW_MS = 100;
const BAR_COLUMNS = 24;
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
    const lines = items.slice(0, MAX_LINES).map((item) => barLine(item, running.elapsed(item), screen));
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
export function barLine(item: Item, elapsedMs: number, screen: Pick<Screen, "columns" | "color">): string {
  const bytes = countsBytes(item.kind);
  const amount = (count: number) => (bytes ? formatSize(count) : String(count));
  const rate = elapsedMs > 300 ? (item.done / elapsedMs) * 1000 : 0;
  const facts: string[] = [];
  let bar = "";
  if (item.total !== undefined && item.total > 0) {
    const part = Math.min(1, item.done / item.total);
    const filled = Math.round(part * BAR_COLUMNS);
    bar = `[${"#".repeat(filled)}${"-".repeat(BAR_COLUMNS - filled)}]`;
    facts.push(`${amount(item.done)} / ${amount(item.total)}`);
  } else if (item.done > 0) facts.push(amount(item.done));
  if (rate > 0 && bytes) facts.push(`${formatSize(Math.round(rate))}/s`);
  if (rate > 0 && item.total !== undefined && item.total > item.done) {
    facts.push(`${formatDuration(((item.total - item.done) / rate) * 1000)} left`);
  }
  const label = shortName(item.kind, item.label);
  const limit = Math.max(20, screen.columns - 1);
  // What does not fit goes: first the bar, then the last facts.
  let parts = [label, bar, ...facts].filter((part) => part !== "");
  if (parts.join("  ").length > limit) parts = [label, ...facts];
  while (parts.length > 1 && parts.join("  ").length > limit) parts.pop();
  const line = parts.join("  ").slice(0, limit);
  return screen.color && bar !== "" ? line.replace(bar, `\u001B[36m${bar}\u001B[39m`) : line;
}
