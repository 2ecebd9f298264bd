// @ts-check
// Samples with the places they belong to, read behind a place that moves on. A small change of how far behind is a glide of at most
// half a per cent of the pitch; a larger one an equal-power crossfade between two places of the line. What is missing is silence,
// and where it begins and ends no click is heard.

export const GLIDE = 0.005;
const FADE_S = 0.015;
/** At the edges of what is missing: the last sample dies away, the next ones rise. */
const EDGE_S = 0.003;

export class SampleLine {
  /** @type {Float32Array[]} */
  #ring;
  #length;
  #fadeLength;
  #edge;
  /** The place after the newest sample; null before the first. @type {number | null} */
  #end = null;
  /** The furthest place that was read. */
  #read = -Infinity;
  /** In samples; whole but while it glides. */
  #delay = 0;
  #goal = 0;
  /** The place that fades in, its delay and how far it is. @type {{delay: number, at: number} | null} */
  #fade = null;
  /** A jump that was asked for during a fade. @type {number | null} */
  #next = null;

  /** @param {number} channels @param {number} rate_hz @param {number} longest_s what is older is forgotten */
  constructor(channels, rate_hz, longest_s) {
    this.#length = Math.ceil(longest_s * rate_hz);
    this.#fadeLength = Math.round(FADE_S * rate_hz);
    this.#edge = Math.round(EDGE_S * rate_hz);
    this.#ring = Array.from({ length: channels }, () => new Float32Array(this.#length));
  }

  /** How far behind it reads, or soon will. @returns {number} samples */
  get delay() {
    return this.#next ?? this.#fade?.delay ?? this.#delay;
  }

  /** Reads so far behind by and by. @param {number} delay samples @returns {void} */
  glideTo(delay) {
    if (!this.#fade) this.#goal = delay;
  }

  /** Reads so far behind at once. @param {number} delay whole samples @returns {void} */
  jumpTo(delay) {
    if (this.#fade) this.#next = delay;
    else this.#fade = { delay, at: 0 };
  }

  /**
   * Takes samples that belong to `place` and those after it; nothing that is older than what came.
   * @param {Float32Array[]} planes one a channel, of one length @param {number} place @returns {void}
   */
  write(planes, place) {
    const frames = planes[0].length;
    const end = this.#end ?? place;
    if (place < end) return;
    this.#silence(end, place);
    const rise = Math.max(place, this.#read); // some of it is too late
    const rises = rise > end || this.#end === null;
    planes.forEach((plane, channel) => {
      const ring = this.#ring[channel];
      for (let i = 0; i < frames; i += 1) {
        const gain = rises ? Math.min(1, Math.max(0, (place + i - rise) / this.#edge)) : 1;
        ring[modulo(place + i, this.#length)] = gain * plane[i];
      }
    });
    this.#end = place + frames;
  }

  /** Fills `planes` with what is heard from `now` on. @param {Float32Array[]} planes @param {number} now @returns {void} */
  read(planes, now) {
    const frames = planes[0].length;
    for (let i = 0; i < frames; i += 1) {
      this.#delay += Math.min(GLIDE, Math.max(-GLIDE, this.#goal - this.#delay));
      const share = this.#fade ? (this.#fade.at / this.#fadeLength) * (Math.PI / 2) : 0;
      for (let channel = 0; channel < planes.length; channel += 1) {
        let value = this.#sample(channel, now + i - this.#delay);
        if (this.#fade) value = value * Math.cos(share) + this.#sample(channel, now + i - this.#fade.delay) * Math.sin(share);
        planes[channel][i] = value;
      }
      if (this.#fade && (this.#fade.at += 1) > this.#fadeLength) this.#land(this.#fade.delay);
    }
    this.#read = Math.ceil(now + frames - this.#delay);
  }

  /** The fade is over. @param {number} delay */
  #land(delay) {
    this.#delay = this.#goal = delay;
    this.#fade = this.#next === null ? null : { delay: this.#next, at: 0 };
    this.#next = null;
  }

  /** Nothing came from `from` to `to`. @param {number} from @param {number} to */
  #silence(from, to) {
    for (const ring of this.#ring) {
      const last = ring[modulo(from - 1, this.#length)];
      for (let place = Math.max(from, to - this.#length); place < to; place += 1)
        ring[modulo(place, this.#length)] = last * Math.max(0, 1 - (place + 1 - from) / this.#edge);
    }
  }

  /** @param {number} channel @param {number} place fractions are interpolated */
  #sample(channel, place) {
    const whole = Math.floor(place);
    const share = place - whole;
    const value = this.#at(channel, whole);
    return share ? value + share * (this.#at(channel, whole + 1) - value) : value;
  }

  /** @param {number} channel @param {number} place whole */
  #at(channel, place) {
    if (this.#end === null || place < this.#end - this.#length) return 0;
    const ring = this.#ring[channel];
    if (place < this.#end) return ring[modulo(place, this.#length)];
    const past = place + 1 - this.#end;
    return past < this.#edge ? ring[modulo(this.#end - 1, this.#length)] * (1 - past / this.#edge) : 0;
  }
}

/** @param {number} value @param {number} length */
function modulo(value, length) {
  return ((value % length) + length) % length;
}
