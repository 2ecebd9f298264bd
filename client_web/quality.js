// @ts-check
// The slider of an avatar's quality presets. Every preset shows its predicted delay before it is chosen; the one that runs
// shows its measured delay as well. The switch of the staggered mode is shown only for weights that were trained for it.

import { delayText } from "./delay.js";
import { find, make, write } from "./dom.js";

/** @typedef {import("./sdk/relight.js").Prediction} Prediction */
/** @typedef {import("./sdk/relight.js").Quality} Quality */

const DEBOUNCE_MS = 250; // arrow keys pass over presets: only the one they stop at is sent
const SETTLED_MS = 4000; // until the measured delay is that of the new preset

export class QualitySlider {
  #input = /** @type {HTMLInputElement} */ (find("#quality"));
  #list = find("#quality-stops");
  #staggered = find("#staggered");
  /** @type {Quality[]} */
  #presets = [];
  #chosen = "";
  #backend = "";
  #leastSteps = 1;
  /** Index of the preset that is looked at, but not chosen yet; -1: none. */
  #previewed = -1;
  /** The server's prediction for the settings that run, the mode included. @type {Prediction | null} */
  #predicted = null;
  /** @type {number | null} */
  #measured_ms = null;
  #changedAt = 0;
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
      const preset = this.#presets[this.#previewed];
      this.#previewed = -1;
      if (preset) on.choose(preset.name);
      this.#render();
    };
    input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#preview(input.valueAsNumber);
    });
    input.addEventListener("change", () => {
      clearTimeout(this.#timer);
      this.#preview(input.valueAsNumber);
      this.#timer = window.setTimeout(choose, DEBOUNCE_MS);
    });
    // The list is for pointers only: with the keyboard the range itself is used.
    this.#list.addEventListener("pointerover", ({ target }) => this.#timer || this.#preview(indexOf(target)));
    this.#list.addEventListener("pointerleave", () => this.#timer || this.#preview(-1));
    this.#list.addEventListener("click", ({ target }) => {
      const index = indexOf(target);
      if (index < 0) return;
      clearTimeout(this.#timer);
      this.#previewed = index;
      choose();
    });
    this.#staggered.addEventListener("click", () => on.stagger(this.#staggered.getAttribute("aria-checked") !== "true"));
  }

  /**
   * True while presets or their predictions are missing: predictions come once the first windows were measured.
   * @returns {boolean}
   */
  get waiting() {
    return !this.#presets.length || this.#presets.some(({ predicted }) => !predicted);
  }

  /**
   * Shows what the server offers.
   * @param {Quality[]} presets @param {string} backend what the networks run on
   * @param {boolean} staggered true where the weights were trained for the staggered mode
   * @param {number} leastSteps that the weights are made for: of fewer the page warns @returns {void}
   */
  setPresets(presets, backend, staggered, leastSteps) {
    this.#presets = presets;
    this.#leastSteps = leastSteps;
    this.#backend = backend;
    find("#staggered-row").hidden = !staggered;
    this.#input.max = String(Math.max(1, presets.length - 1));
    this.#list.replaceChildren(
      ...presets.map(({ title, predicted, steps }, index) => {
        const late = (predicted && !predicted.keeps_up) || steps < leastSteps;
        return make(
          "li",
          { "data-stop": String(index), ...(late ? { class: "late" } : {}) },
          make("span", {}, title),
          make("small", {}, predicted ? short(predicted.delay_s) : "–"),
        );
      }),
    );
    this.#render();
  }

  /** Shows the choices. @param {string} chosen name of a preset @param {boolean} staggered @returns {void} */
  show(chosen, staggered) {
    if (chosen !== this.#chosen || String(staggered) !== this.#staggered.getAttribute("aria-checked")) {
      this.#predicted = null;
      this.#discardMeasured();
    }
    this.#chosen = chosen;
    this.#staggered.setAttribute("aria-checked", String(staggered));
    this.#render();
  }

  /** Shows the server's prediction for the settings it now has. @param {Prediction | null} predicted @returns {void} */
  setPrediction(predicted) {
    this.#predicted = predicted;
    this.#discardMeasured();
    this.#render();
  }

  /** Shows the measured delay. @param {number | null} ms the server's median; null: another engine runs @returns {void} */
  setMeasured(ms) {
    const settled = performance.now() - this.#changedAt > SETTLED_MS;
    if (ms === null) this.#discardMeasured();
    this.#measured_ms = ms !== null && settled ? ms : null;
    this.#render();
  }

  #discardMeasured() {
    this.#measured_ms = null;
    this.#changedAt = performance.now();
  }

  /** @param {number} index */
  #preview(index) {
    this.#previewed = index;
    this.#render();
  }

  #render() {
    const chosen = this.#presets.findIndex(({ name }) => name === this.#chosen);
    const shown = this.#previewed >= 0 ? this.#previewed : chosen;
    const preset = this.#presets[shown];
    if (!preset) return write(find("#quality-text"), "");
    const own = shown === chosen;
    const predicted = (own && this.#predicted) || preset.predicted;
    if (document.activeElement !== this.#input || own || this.#previewed < 0) this.#input.valueAsNumber = shown;
    if (this.#previewed >= 0 && this.#input.valueAsNumber !== shown) this.#input.valueAsNumber = shown;
    this.#input.style.setProperty("--fill", `${(100 * shown) / Math.max(1, this.#presets.length - 1)}%`);
    for (const [index, item] of [...this.#list.children].entries()) {
      item.classList.toggle("aimed", index === shown);
      item.classList.toggle("chosen", index === chosen);
    }
    write(find("#quality-value"), preset.title);
    const forecast = predicted ? `predicted ${delayText(1000 * predicted.delay_s, true)}` : "";
    const rate = predicted ? `${Math.round(predicted.fps)} fps` : "";
    const late = predicted && !predicted.keeps_up ? "does not keep up" : "";
    const measured = own ? (this.#measured_ms === null ? "" : `measured ${delayText(this.#measured_ms, true)}`) : "";
    const blurs = preset.steps < this.#leastSteps ? `blurs: these weights are made for ${this.#leastSteps} steps` : "";
    const words = [forecast, ...(measured ? [measured] : [rate]), late, blurs].filter(Boolean);
    const text = find("#quality-text");
    write(text, words.join(" · ") || "Its delay is predicted once it has run");
    text.classList.toggle("late", Boolean(late || blurs));
    this.#input.setAttribute("aria-valuetext", [preset.title, ...words].join(", ").replace(" fps", " frames per second"));
    const steps = find("#quality-steps");
    write(steps, `${preset.steps} ${preset.steps === 1 ? "step" : "steps"}${preset.omega > 1 ? ", guided" : ""}`);
    steps.title = `${preset.stride} new frames a window${this.#backend ? `; runs on ${this.#backend}` : ""}`;
  }
}

/** A delay as the list under the slider shows it. @param {number} s @returns {string} */
const short = (s) => `${s < 9.95 ? s.toFixed(1) : Math.round(s)} s`;

/** Index of the preset in the list that an event came from. @param {EventTarget | null} target @returns {number} -1: none */
const indexOf = (target) => {
  const item = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-stop]")) : null;
  return item ? Number(item.dataset.stop) : -1;
};
