// Progress for programs: one event a line, as the library reports it.

import type { Renderer, Screen } from "./renderer.ts";

/** Writes every event as one line of JSON. Remarks are events of type `note`. */
export function jsonRenderer(screen: Screen): Renderer {
  const emit = (event: object) => screen.write(`${JSON.stringify(event)}\n`);
  return {
    listen: emit,
    note: (message) => emit({ type: "note", message }),
    stop: () => undefined,
  };
}
