// @ts-check
// Measures the microphone's peak level in dBFS (0 dB is full scale) and shows it with a peak hold.

import { find, write } from "./dom.js";

export const FLOOR_DB = -60;
/** Samples of one measurement, 43 ms at 48 kHz; measurements follow one another faster than that, so no peak is missed. */
const WINDOW = 2048;
const EVERY_MS = 40;
const HOLD_MS = 1500;
/** A peak meter falls by 20 dB in 1.7 s (IEC 60268-10, type I). */
const FALL_DB_PER_S = 20 / 1.7;
/** Screen readers are told of a new value this often. */
const SPOKEN_EVERY_MS = 1000;

/** Returns the level of the largest sample, dBFS, not below the floor. @param {Float32Array} samples −1…1 @returns {number} */
export function peakDb(samples) {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  return Math.max(FLOOR_DB, 20 * Math.log10(peak)); // log10(0) is −∞
}

/** Follows a peak level with a slow fall and a hold. */
export class PeakHold {
  level = FLOOR_DB;
  hold = FLOOR_DB;
  #heldAt = 0;
  #at = 0;

  /** @param {number} db @param {number} now_ms @returns {void} */
  update(db, now_ms) {
    const fallen = this.level - (FALL_DB_PER_S * (now_ms - this.#at)) / 1000;
    this.#at = now_ms;
    this.level = Math.max(FLOOR_DB, db, fallen);
    if (db < this.hold && now_ms - this.#heldAt <= HOLD_MS) return;
    this.hold = db;
    this.#heldAt = now_ms;
  }

  /** Forgets everything, for silence that comes at once. @returns {void} */
  clear() {
    this.level = this.hold = FLOOR_DB;
    this.#heldAt = 0;
  }
}

/** Writes a level with a true minus. @param {number} db @returns {string} */
const words = (db) => (db <= FLOOR_DB ? "−∞ dBFS" : `${db < -0.05 ? "−" : ""}${Math.abs(db).toFixed(0)} dBFS`);

export class Meter {
  #bars = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-level]")]);
  #meter = find("#sound-meter");
  #value = find("#sound-level");
  #peak = new PeakHold();
  #samples = new Float32Array(WINDOW);
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #timer = 0;
  #spokenAt = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor() {
    document.addEventListener("visibilitychange", () => this.#source && !document.hidden && this.#measure());
    this.#show();
  }

  /** Follows a track from now on; none: silence. @param {MediaStreamTrack | null} track @returns {void} */
  follow(track) {
    clearTimeout(this.#timer);
    this.#source?.disconnect();
    this.#source = null;
    this.#peak.clear();
    this.#show();
    if (!track) return void this.#context?.suspend();
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {}); // refused before the first click: the meter stays at its floor
    if (!this.#analyser) {
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.fftSize = WINDOW;
    }
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
    this.#measure();
  }

  #measure() {
    clearTimeout(this.#timer);
    if (!this.#source || !this.#analyser || document.hidden) return;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    this.#peak.update(peakDb(this.#samples), performance.now());
    this.#show();
    this.#timer = window.setTimeout(() => this.#measure(), EVERY_MS);
  }

  #show() {
    const { level, hold } = this.#peak;
    const share = (/** @type {number} */ db) => Math.min(1, 1 - db / FLOOR_DB);
    // Asked for less motion, the bars show the hold, which stands still for a second and a half at a time.
    const shown = share(this.#calm.matches ? hold : level);
    for (const bar of this.#bars) {
      bar.style.setProperty("--level", shown.toFixed(3));
      bar.style.setProperty("--hold", share(hold).toFixed(3));
    }
    write(this.#value, this.#source ? words(hold) : "");
    const now = performance.now();
    if (this.#source && now - this.#spokenAt < SPOKEN_EVERY_MS) return;
    this.#spokenAt = now;
    this.#meter.setAttribute("aria-valuenow", hold.toFixed(0));
    this.#meter.setAttribute("aria-valuetext", this.#source ? words(hold) : "No sound");
  }
}
