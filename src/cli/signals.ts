// Ctrl-C and `kill`: the first asks the command to stop and clean up, the second ends the process at once.

const STATUS = { SIGINT: 130, SIGTERM: 143 } as const;

/** The signal that stopped the program, if one did. */
export interface Interruption {
  readonly signal: AbortSignal;
  /** 130 or 143 once a signal came. */
  status(): number | undefined;
}

/** Starts to listen. `onFirst` runs once, when the first signal arrives. */
export function listenForSignals(onFirst: () => void): Interruption {
  const controller = new AbortController();
  let status: number | undefined;
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (status !== undefined) process.exit(STATUS[name]);
      status = STATUS[name];
      controller.abort(new Error(`stopped by ${name}`));
      onFirst();
    });
  }
  return { signal: controller.signal, status: () => status };
}
