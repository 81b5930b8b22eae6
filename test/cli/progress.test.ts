// The three drawings of progress, on a screen that remembers.

import { describe, expect, it, vi } from "vitest";
import { barLine } from "../../src/cli/progress/bars.ts";
import { Rate } from "../../src/cli/progress/rate.ts";
import { createRenderer, type Screen } from "../../src/cli/progress/renderer.ts";
import type { ProgressEvent } from "../../src/index.ts";

const DIGEST = `sha256:1e9c578c1234${"0".repeat(52)}`;

function screen(more: Partial<Screen> = {}): Screen & { text: () => string } {
  let text = "";
  return {
    write: (more_) => {
      text += more_;
    },
    isTerminal: false,
    columns: 80,
    color: false,
    ...more,
    text: () => text,
  };
}

const EVENTS: ProgressEvent[] = [
  { type: "note", message: "2 layers" },
  { type: "done", id: `sha256:aaaaaaaaaaaa${"1".repeat(52)}`, skipped: true },
  { type: "start", id: DIGEST, kind: "layer", label: DIGEST, total: 4096 },
  { type: "advance", id: DIGEST, done: 2048, total: 4096 },
  { type: "warning", message: "careful" },
  { type: "done", id: DIGEST },
];

describe("progress", () => {
  it("auto is lines where there is no terminal", () => {
    const target = screen();
    const { listen, stop } = createRenderer("auto", target, false);
    for (const event of EVENTS) listen(event);
    stop();
    const lines = target.text().split("\n");
    expect(lines).toEqual([
      "2 layers",
      "layer aaaaaaaaaaaa: already present",
      "warning: careful",
      expect.stringMatching(/^layer 1e9c578c1234: 4\.00 KiB in 0\.\d s$/),
      "",
    ]);
    expect(target.text()).not.toContain("\u001B");
  });

  it("lines give a sign of life every ten seconds", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      const target = screen();
      const { listen } = createRenderer("plain", target, false);
      listen(EVENTS[2] as ProgressEvent);
      for (let second = 1; second <= 25; second++) {
        vi.advanceTimersByTime(1000);
        listen({ type: "advance", id: DIGEST, done: second });
      }
      expect(target.text()).toBe(
        "layer 1e9c578c1234: 10 B of 4.00 KiB after 10 s\nlayer 1e9c578c1234: 20 B of 4.00 KiB after 20 s\n",
      );
    } finally {
      vi.useRealTimers();
    }
  });

  it("auto is bars on a terminal, which leave nothing behind", () => {
    const target = screen({ isTerminal: true });
    const { listen, note, stop } = createRenderer("auto", target, false);
    for (const event of EVENTS.slice(0, 4)) listen(event);
    note("a remark");
    stop();
    const text = target.text();
    expect(text).toContain("layer 1e9c578c1234  [############------------]  2.00 KiB / 4.00 KiB");
    // The remark stands above the bar, and the last thing written takes the bar away.
    expect(text).toMatch(/a remark\nlayer 1e9c578c1234/);
    expect(text.endsWith("\u001B[1A\r\u001B[J")).toBe(true);
  });

  it("a bar never wraps: it shrinks, then goes, then facts go", () => {
    const item = {
      id: DIGEST,
      kind: "layer",
      label: DIGEST,
      total: 1e9,
      done: 5e8,
      startedAt: 0,
      rate: new Rate(0),
    } as const;
    const line = (columns: number) => barLine({ ...item }, 5e7, { columns, color: false });
    expect(line(120)).toBe(
      "layer 1e9c578c1234  [############------------]  476.84 MiB / 953.67 MiB  10 s left  47.68 MiB/s",
    );
    expect(line(80)).toBe("layer 1e9c578c1234  [####----]  476.84 MiB / 953.67 MiB  10 s left  47.68 MiB/s");
    expect(line(70)).toBe("layer 1e9c578c1234  476.84 MiB / 953.67 MiB  10 s left  47.68 MiB/s");
    expect(line(30)).toBe("layer 1e9c578c1234  [####---]");
    expect(line(25)).toBe("layer 1e9c578c1234");
    for (let columns = 20; columns < 120; columns++) expect(line(columns).length).toBeLessThan(Math.max(21, columns));
    expect(barLine({ ...item }, 5e7, { columns: 120, color: true })).toContain("\u001B[36m[###");
  });

  it("json is every event on a line", () => {
    const target = screen({ isTerminal: true });
    const { listen, note, stop } = createRenderer("json", target, true);
    for (const event of EVENTS) listen(event);
    note("a remark");
    stop();
    const lines = target.text().trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      ...EVENTS,
      { type: "note", message: "a remark" },
    ]);
  });

  it("none and quiet leave warnings only; none keeps remarks", () => {
    for (const [mode, quiet, expected] of [
      ["none", false, "2 layers\nwarning: careful\n"],
      ["none", true, "warning: careful\n"],
      ["bar", true, "warning: careful\n"],
    ] as const) {
      const target = screen({ isTerminal: true });
      const { listen, stop } = createRenderer(mode, target, quiet);
      for (const event of EVENTS) listen(event);
      stop();
      expect(target.text()).toBe(expected);
    }
  });
});
