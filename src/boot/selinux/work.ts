// The bound on what labelling may cost: time is linear in rules times bytes of paths, which is still too much for rules and trees that
// are made to be slow.

import { ComposefsError } from "../../error.ts";

/** Steps that one labelling may take: some 10 s. That of 5 600 rules and 70 000 paths takes half a million. */
const LIMIT = 300_000_000;

/** Counts the steps of one labelling. */
export class Work {
  #left: number;

  constructor(limit: number = LIMIT) {
    this.#left = limit;
  }

  /** Steps that are left. */
  get left(): number {
    return this.#left;
  }

  /**
   * Takes some steps.
   *
   * @throws ComposefsError `limit` when there were too many
   */
  take(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) {
      throw new ComposefsError("limit", "the SELinux policy of the image takes too long to match with its files", {
        path: "/etc/selinux",
        hint: "its regular expressions are made such that nearly all of them have to be tried with every file",
      });
    }
  }
}
