// How fast something goes: a mean that weighs the last seconds most, so that it neither jumps with every packet nor remembers for ever.

/** The time in which old measurements lose two thirds of their weight, in milliseconds. */
const MEMORY_MS = 5000;

/** Measurements closer together than this are taken as one, in milliseconds. */
const STEP_MS = 100;

/** A rate, from amounts and the times at which they were reached. Times are in milliseconds and never decrease. */
export class Rate {
  #time: number;
  #done: number;
  // Both forget in the same way, so their ratio is right from the first measurement on.
  #sum = 0;
  #weight = 0;

  constructor(now: number, done = 0) {
    this.#time = now;
    this.#done = done;
  }

  /** Takes a measurement: so much is done by now. */
  update(done: number, now: number): void {
    const elapsed = now - this.#time;
    if (elapsed < STEP_MS) return;
    const keep = Math.exp(-elapsed / MEMORY_MS);
    const speed = Math.max(0, done - this.#done) / elapsed;
    this.#sum = this.#sum * keep + speed * (1 - keep);
    this.#weight = this.#weight * keep + (1 - keep);
    this.#time = now;
    this.#done = done;
  }

  /** Per second; 0 as long as nothing is known. What stands still becomes slower. */
  perSecond(now: number): number {
    if (this.#weight === 0) return 0;
    const keep = Math.exp(-Math.max(0, now - this.#time) / MEMORY_MS);
    const stalled = now - this.#time > 1000 ? 1 - keep : 0;
    return ((this.#sum * (1 - stalled)) / (this.#weight * (1 - stalled) + stalled)) * 1000;
  }
}
