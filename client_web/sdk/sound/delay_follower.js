// @ts-check
// Makes of the delay of every displayed picture the delay the sound should have: steady in spite of jitter, and at once elsewhere
// when the picture is.

/** So far off, two pictures running: another engine's picture, or the camera's. */
const JUMP_S = 0.06;
/** Two pictures that agree so well belong together, unless they came so soon one after the other: then the network held both. */
const AGREE_S = 0.04;
const BURST_S = 0.012;
/** So far off on the whole: the sound goes there in one step. Less is a glide. */
const STEP_S = 0.012;
const TOLERANCE_S = 0.002;
const SPAN_S = 0.5;
const FEWEST = 5;

/** @typedef {{how: "stay" | "glide" | "jump", delay_s: number}} Move */

export class DelayFollower {
  /** @type {{t_s: number, delay_s: number}[]} */
  #seen = [];
  /** Where the picture is, without its jitter. */
  #at_s = 0;

  /** Delay of the picture, without its jitter. @returns {number} */
  get delay_s() {
    return this.#at_s;
  }

  /** True once some pictures have come. @returns {boolean} */
  get settled() {
    return this.#seen.length > 1;
  }

  /**
   * Takes the delay of a picture that is displayed now.
   * @param {number} delay_s @param {number} t_s of any steady clock @returns {void}
   */
  picture(delay_s, t_s) {
    const before = this.#seen.at(-1);
    const early = this.#steady && delay_s < this.#at_s - JUMP_S;
    this.#seen.push({ t_s, delay_s });
    while (this.#seen[0].t_s < t_s - SPAN_S) this.#seen.shift();
    const elsewhere = (/** @type {number} */ value_s) => Math.abs(value_s - this.#at_s) > JUMP_S;
    const agree = before && Math.abs(before.delay_s - delay_s) < AGREE_S && t_s - before.t_s > BURST_S;
    if (early) {
      this.#seen = this.#seen.slice(-1);
      this.#at_s = delay_s;
    } else if (agree && elsewhere(before.delay_s) && elsewhere(delay_s)) {
      this.#seen = this.#seen.slice(-2);
      this.#at_s = (before.delay_s + delay_s) / 2;
    } else if (this.#seen.length >= FEWEST) {
      this.#at_s = this.#middle;
    }
  }

  /** A picture can be late by itself, but not early: after steady ones the first that is begins another delay. */
  get #steady() {
    return this.#seen.length >= FEWEST && this.#seen.every(({ delay_s }) => Math.abs(delay_s - this.#at_s) < AGREE_S);
  }

  /** The median, each picture for as long as it was seen: those that a stall let through all at once count for next to nothing. */
  get #middle() {
    const shown = this.#seen.slice(0, -1).map(({ t_s, delay_s }, i) => ({ delay_s, for_s: this.#seen[i + 1].t_s - t_s }));
    shown.sort((a, b) => a.delay_s - b.delay_s);
    let left_s = shown.reduce((sum, { for_s }) => sum + for_s, 0) / 2;
    return (shown.find(({ for_s }) => (left_s -= for_s) <= 0) ?? shown[0]).delay_s;
  }

  /** Takes a delay that is known to be another one, and not to be smoothed. @param {number} delay_s @returns {void} */
  reset(delay_s) {
    this.#seen = [];
    this.#at_s = delay_s;
  }

  /** Says how a sound gets to the picture. @param {number} heard_s delay of the sound now @returns {Move} */
  moveFrom(heard_s) {
    const off_s = Math.abs(this.#at_s - heard_s);
    return { how: off_s > STEP_S ? "jump" : off_s > TOLERANCE_S ? "glide" : "stay", delay_s: this.#at_s };
  }
}

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
