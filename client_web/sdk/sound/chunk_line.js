// @ts-check
// A delay line on samples, for sound that comes in chunks: each chunk in gives one out, as late as asked. A small change of the
// delay is a glide of at most half a per cent of the pitch; a larger one an equal-power crossfade between two places of the line.

export const LONGEST_S = 4.2;
export const GLIDE = 0.005;
const FADE_S = 0.015;

export class ChunkLine {
  /** @type {Float32Array[]} */
  #ring;
  #length;
  #fadeLength;
  /** Frames that came so far. */
  #written = 0;
  /** Delay in frames; whole but while it glides. */
  #delay = 0;
  #goal = 0;
  /** The place that fades in, its delay and how far it is. @type {{delay: number, at: number} | null} */
  #fade = null;
  /** A jump that was asked for during a fade. @type {number | null} */
  #next = null;
  #rate;

  /** @param {number} channels @param {number} rate_hz */
  constructor(channels, rate_hz) {
    this.#rate = rate_hz;
    this.#length = Math.ceil((LONGEST_S + 0.5) * rate_hz);
    this.#fadeLength = Math.round(FADE_S * rate_hz);
    this.#ring = Array.from({ length: channels }, () => new Float32Array(this.#length));
  }

  /** @param {number} delay_s @returns {void} */
  glideTo(delay_s) {
    if (!this.#fade) this.#goal = this.#frames(delay_s);
  }

  /** @param {number} delay_s @returns {void} */
  jumpTo(delay_s) {
    if (this.#fade) this.#next = this.#frames(delay_s);
    else this.#fade = { delay: this.#frames(delay_s), at: 0 };
  }

  /** Delays a chunk in place. @param {Float32Array[]} planes one a channel, of one length @returns {void} */
  process(planes) {
    const frames = planes[0].length;
    planes.forEach((plane, channel) => {
      const ring = this.#ring[channel];
      for (let i = 0; i < frames; i += 1) ring[(this.#written + i) % this.#length] = plane[i];
    });
    for (let i = 0; i < frames; i += 1) {
      const now = this.#written + i;
      this.#delay += Math.min(GLIDE, Math.max(-GLIDE, this.#goal - this.#delay));
      const share = this.#fade ? (this.#fade.at / this.#fadeLength) * (Math.PI / 2) : 0;
      for (let channel = 0; channel < planes.length; channel += 1) {
        const ring = this.#ring[channel];
        let value = this.#read(ring, now - this.#delay);
        if (this.#fade) value = value * Math.cos(share) + this.#read(ring, now - this.#fade.delay) * Math.sin(share);
        planes[channel][i] = value;
      }
      if (this.#fade && (this.#fade.at += 1) > this.#fadeLength) this.#land(this.#fade.delay);
    }
    this.#written += frames;
  }

  /** The fade is over. @param {number} delay */
  #land(delay) {
    this.#delay = this.#goal = delay;
    this.#fade = this.#next === null ? null : { delay: this.#next, at: 0 };
    this.#next = null;
  }

  /** @param {Float32Array} ring @param {number} place in frames since the first; fractions are interpolated */
  #read(ring, place) {
    if (place < 0) return 0;
    const whole = Math.floor(place);
    const value = ring[whole % this.#length];
    const share = place - whole;
    return share ? value + share * (ring[(whole + 1) % this.#length] - value) : value;
  }

  /** @param {number} delay_s */
  #frames(delay_s) {
    return Math.round(Math.min(LONGEST_S, Math.max(0, delay_s)) * this.#rate);
  }
}
