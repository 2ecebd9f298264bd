// @ts-check
// The quality of an LCVD avatar against its delay. Every stop states its predicted delay before it is chosen; the one
// that runs states the measured delay beside it.

import { delayText } from "./delay.js";
import { find, make, write } from "./dom.js";

/** @typedef {import("./protocol.js").Prediction} Prediction */
/** @typedef {import("./protocol.js").Quality} Quality */

const DECIDED_MS = 250; // arrow keys pass over stops: only the one that is rested on is asked for
const SETTLED_MS = 4000; // until what is measured is of the new stop

export class QualitySlider {
  #input = /** @type {HTMLInputElement} */ (find("#quality"));
  #stops = find("#quality-stops");
  #staggered = find("#staggered");
  /** @type {Quality[]} */
  #qualities = [];
  #chosen = "";
  #backend = "";
  /** The stop under the hand, not chosen yet; -1: none. */
  #aimed = -1;
  /** The server's own word on what runs: it knows the mode too. @type {Prediction | null} */
  #promised = null;
  /** @type {number | null} */
  #measured_ms = null;
  #since = 0;
  #timer = 0;

  /**
   * @param {object} on
   * @param {(name: string) => void} on.choose
   * @param {(on: boolean) => void} on.stagger
   */
  constructor(on) {
    const input = this.#input;
    const choose = () => {
      this.#timer = 0;
      const quality = this.#qualities[this.#aimed];
      this.#aimed = -1;
      if (quality) on.choose(quality.name);
      this.#say();
    };
    input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#aim(input.valueAsNumber);
    });
    input.addEventListener("change", () => {
      clearTimeout(this.#timer);
      this.#aim(input.valueAsNumber);
      this.#timer = window.setTimeout(choose, DECIDED_MS);
    });
    // Hands only: who uses the keyboard has the range itself.
    this.#stops.addEventListener("pointerover", ({ target }) => this.#timer || this.#aim(indexOf(target)));
    this.#stops.addEventListener("pointerleave", () => this.#timer || this.#aim(-1));
    this.#stops.addEventListener("click", ({ target }) => {
      const index = indexOf(target);
      if (index < 0) return;
      clearTimeout(this.#timer);
      this.#aimed = index;
      choose();
    });
    this.#staggered.addEventListener("click", () => on.stagger(this.#staggered.getAttribute("aria-checked") !== "true"));
  }

  /** Something is still missing: predictions come once the first windows were measured. */
  get waiting() {
    return !this.#qualities.length || this.#qualities.some(({ predicted }) => !predicted);
  }

  /** @param {Quality[]} qualities @param {string} backend what the networks run on */
  list(qualities, backend) {
    this.#qualities = qualities;
    this.#backend = backend;
    this.#input.max = String(Math.max(1, qualities.length - 1));
    this.#stops.replaceChildren(
      ...qualities.map(({ title, predicted }, index) => {
        const late = predicted && !predicted.keeps_up;
        return make(
          "li",
          { "data-stop": String(index), ...(late ? { class: "late" } : {}) },
          make("span", {}, title),
          make("small", {}, predicted ? short(predicted.delay_s) : "–"),
        );
      }),
    );
    this.#say();
  }

  /** @param {string} chosen @param {boolean} staggered */
  show(chosen, staggered) {
    if (chosen !== this.#chosen || String(staggered) !== this.#staggered.getAttribute("aria-checked")) {
      this.#promised = null;
      this.#forget();
    }
    this.#chosen = chosen;
    this.#staggered.setAttribute("aria-checked", String(staggered));
    this.#say();
  }

  /** @param {Prediction | null} predicted */
  promise(predicted) {
    this.#promised = predicted;
    this.#forget();
    this.#say();
  }

  /** @param {number | null} ms of the server, median; null: it is not LCVD that runs */
  measured(ms) {
    const settled = performance.now() - this.#since > SETTLED_MS;
    if (ms === null) this.#forget();
    this.#measured_ms = ms !== null && settled ? ms : null;
    this.#say();
  }

  #forget() {
    this.#measured_ms = null;
    this.#since = performance.now();
  }

  /** @param {number} index */
  #aim(index) {
    this.#aimed = index;
    this.#say();
  }

  #say() {
    const at = this.#qualities.findIndex(({ name }) => name === this.#chosen);
    const shown = this.#aimed >= 0 ? this.#aimed : at;
    const quality = this.#qualities[shown];
    if (!quality) return write(find("#quality-text"), "");
    const own = shown === at;
    const predicted = (own && this.#promised) || quality.predicted;
    if (document.activeElement !== this.#input || own || this.#aimed < 0) this.#input.valueAsNumber = shown;
    if (this.#aimed >= 0 && this.#input.valueAsNumber !== shown) this.#input.valueAsNumber = shown;
    this.#input.style.setProperty("--fill", `${(100 * shown) / Math.max(1, this.#qualities.length - 1)}%`);
    for (const [index, stop] of [...this.#stops.children].entries()) {
      stop.classList.toggle("aimed", index === shown);
      stop.classList.toggle("chosen", index === at);
    }
    write(find("#quality-value"), quality.title);
    const forecast = predicted ? `predicted ${delayText(1000 * predicted.delay_s, true)}` : "";
    const rate = predicted ? `${Math.round(predicted.fps)} fps` : "";
    const late = predicted && !predicted.keeps_up ? "does not keep up" : "";
    const measured = own ? (this.#measured_ms === null ? "" : `measured ${delayText(this.#measured_ms, true)}`) : "";
    const words = [forecast, ...(measured ? [measured] : [rate]), late].filter(Boolean);
    const text = find("#quality-text");
    write(text, words.join(" · ") || "Its delay is predicted once it has run");
    text.classList.toggle("late", Boolean(late));
    this.#input.setAttribute("aria-valuetext", [quality.title, ...words].join(", ").replace(" fps", " frames per second"));
    const steps = find("#quality-steps");
    write(steps, `${quality.steps} ${quality.steps === 1 ? "step" : "steps"}${quality.omega > 1 ? ", guided" : ""}`);
    steps.title = `${quality.stride} new frames a window${this.#backend ? `; runs on ${this.#backend}` : ""}`;
  }
}

/** @param {number} s */
const short = (s) => `${s < 9.95 ? s.toFixed(1) : Math.round(s)} s`;

/** @param {EventTarget | null} target */
const indexOf = (target) => {
  const stop = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-stop]")) : null;
  return stop ? Number(stop.dataset.stop) : -1;
};
