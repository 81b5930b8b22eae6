// Which drawing of progress fits: bars on a terminal, lines elsewhere, JSON for programs, nothing when quiet.

import type { ProgressListener } from "../../index.ts";
import { barRenderer } from "./bars.ts";
import { jsonRenderer } from "./json-lines.ts";
import { plainRenderer } from "./plain-lines.ts";

/** Draws progress on stderr. */
export interface Renderer {
  readonly listen: ProgressListener;
  /** Prints a remark without disturbing what is drawn. */
  readonly note: (message: string) => void;
  /** Takes away what is drawn; nothing is drawn afterwards. */
  readonly stop: () => void;
}

/** Where to draw, and what it can do. */
export interface Screen {
  readonly write: (text: string) => void;
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly color: boolean;
}

/** What `--progress` accepts. */
export type ProgressMode = "auto" | "bar" | "plain" | "json" | "none";

/** The renderer of a mode. Warnings are shown in every mode; with `quiet`, remarks are not. */
export function createRenderer(mode: ProgressMode, screen: Screen, quiet: boolean): Renderer {
  if (mode === "json") return jsonRenderer(screen);
  if (quiet || mode === "none") return plainRenderer(screen, { items: false, notes: !quiet });
  if (mode === "bar" || (mode === "auto" && screen.isTerminal)) return barRenderer(screen);
  return plainRenderer(screen, { items: true, notes: true });
}
