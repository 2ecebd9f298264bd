// @ts-check
// Holds sound back by a delay that may change at any moment. A small change is a glide of at most half a per cent of the pitch,
// which nobody hears; a larger one is a short equal-power crossfade between two taps of the same line.

export const LONGEST_S = 4.2;
const GLIDE = 0.005;
const FADE_S = 0.015;
/** Automation begins a moment ahead, so that its first sample is not in the past. */
const AHEAD_S = 0.005;
const CURVE_POINTS = 33;
const [RISE, FALL] = [Math.sin, Math.cos].map((of) =>
  Float32Array.from({ length: CURVE_POINTS }, (_, i) => of((i / (CURVE_POINTS - 1)) * (Math.PI / 2))),
);

export class DelayLine {
  /** @type {{delay: DelayNode, gain: GainNode}[]} the first one is heard */
  #taps;
  #context;
  #fadeEnds_s = 0;
  /** The glide that was scheduled last: delay at its begin and end. */
  #glide = { from_s: 0, to_s: 0, begins_s: 0, ends_s: 0 };
  input;
  output;

  /** @param {BaseAudioContext} context */
  constructor(context) {
    this.#context = context;
    this.input = context.createGain();
    this.output = context.createGain();
    this.#taps = [1, 0].map((loudness) => {
      const delay = context.createDelay(LONGEST_S);
      const gain = context.createGain();
      gain.gain.value = loudness;
      this.input.connect(delay).connect(gain).connect(this.output);
      return { delay, gain };
    });
  }

  /** The delay that is heard now, seconds. @returns {number} */
  get delay_s() {
    const { from_s, to_s, begins_s, ends_s } = this.#glide;
    const share = ends_s > begins_s ? (this.#context.currentTime - begins_s) / (ends_s - begins_s) : 1;
    return from_s + (to_s - from_s) * Math.min(1, Math.max(0, share));
  }

  /** Goes over to another delay: slowly. @param {number} delay_s @returns {void} */
  glideTo(delay_s) {
    const now_s = this.#context.currentTime + AHEAD_S;
    if (now_s < this.#fadeEnds_s) return;
    const from_s = this.delay_s;
    const to_s = clamped(delay_s);
    const ends_s = now_s + Math.max(0.02, Math.abs(to_s - from_s) / GLIDE);
    const { delayTime } = this.#taps[0].delay;
    delayTime.cancelScheduledValues(0);
    delayTime.setValueAtTime(from_s, now_s);
    delayTime.linearRampToValueAtTime(to_s, ends_s);
    this.#glide = { from_s, to_s, begins_s: now_s, ends_s };
  }

  /** Goes over to another delay within FADE_S; while such a change is under way, nothing happens. @param {number} delay_s @returns {void} */
  jumpTo(delay_s) {
    const now_s = this.#context.currentTime + AHEAD_S;
    if (now_s < this.#fadeEnds_s) return;
    const to_s = clamped(delay_s);
    const [before, next] = this.#taps;
    const stay_s = this.delay_s;
    before.delay.delayTime.cancelScheduledValues(0);
    before.delay.delayTime.setValueAtTime(stay_s, now_s);
    next.delay.delayTime.cancelScheduledValues(0);
    next.delay.delayTime.setValueAtTime(to_s, now_s);
    for (const [{ gain }, curve] of /** @type {const} */ ([[before, FALL], [next, RISE]])) {
      gain.gain.cancelScheduledValues(0);
      gain.gain.setValueCurveAtTime(curve, now_s, FADE_S);
    }
    this.#fadeEnds_s = now_s + FADE_S + AHEAD_S;
    this.#taps = [next, before];
    this.#glide = { from_s: to_s, to_s, begins_s: now_s, ends_s: now_s };
  }
}

/** @param {number} delay_s */
const clamped = (delay_s) => Math.min(LONGEST_S, Math.max(0, delay_s));
