// @ts-check
// A delay line for sound that comes in chunks: each chunk in gives one out, as late as asked.

import { SampleLine } from "./sample_line.js";

export const LONGEST_S = 4.2;
const MARGIN_S = 0.5;

export class ChunkLine {
  #line;
  #rate;
  /** Samples that came so far. */
  #written = 0;

  /** @param {number} channels @param {number} rate_hz */
  constructor(channels, rate_hz) {
    this.#rate = rate_hz;
    this.#line = new SampleLine(channels, rate_hz, LONGEST_S + MARGIN_S);
  }

  /** @param {number} delay_s @returns {void} */
  glideTo(delay_s) {
    this.#line.glideTo(this.#samples(delay_s));
  }

  /** @param {number} delay_s @returns {void} */
  jumpTo(delay_s) {
    this.#line.jumpTo(this.#samples(delay_s));
  }

  /** Delays a chunk in place. @param {Float32Array[]} planes one a channel, of one length @returns {void} */
  process(planes) {
    this.#line.write(planes, this.#written);
    this.#line.read(planes, this.#written);
    this.#written += planes[0].length;
  }

  /** @param {number} delay_s */
  #samples(delay_s) {
    return Math.round(Math.min(LONGEST_S, Math.max(0, delay_s)) * this.#rate);
  }
}
