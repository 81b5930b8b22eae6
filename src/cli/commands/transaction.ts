// `composefs transaction` (docs/spec/repository.md, section 11)

import type { Command } from "../command.ts";

export const transaction: Command = {
  name: "transaction",
  summary: "keep gc away until this is stopped",
  description:
    "Holds the shared lock on the repository and does nothing else until it is stopped by SIGTERM or SIGINT. Prints " +
    "nothing. Scripts run it in the background around several commands whose results must survive until the last of them.",
  arguments: [],
  options: [],
  examples: [{ line: "transaction & pid=$!; ...; kill $pid", says: "in a script" }],
  interrupted: "the transaction has ended",
  async run({ signal, openRepository }) {
    await using repository = await openRepository();
    // Without anything to wait for the process would end.
    const timer = setInterval(() => {}, 1 << 30);
    try {
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve());
      });
    } finally {
      clearInterval(timer);
      await repository.close();
    }
    signal.throwIfAborted();
  },
};
