// @ts-check
// The portrait's card shows the portrait in use, the ways to choose another, and the error of one that was refused.

import { find, make, write } from "./dom.js";
import { drawThumb } from "./thumb.js";

/** @typedef {import("./sdk/portrait.js").Portrait} Portrait */

const STATE_TEXTS = {
  none: "",
  reading: "Looking for the face…",
  waiting: "Sent as soon as the picture is live",
  ready: "Face found",
  refused: "Not in use",
};

export class PortraitCard {
  #card = find("#avatar-card");
  #ways = find("#portrait-ways");
  #replace = find("#replace-portrait");
  #replacing = false;
  /** @type {Error | null} */
  #shownError = null;
  /** @type {Portrait | null} */
  #portrait = null;

  /**
   * @param {object} on
   * @param {(file: File) => void} on.file
   * @param {() => void} on.snap
   * @param {() => void} on.sample
   * @param {() => void} on.remove
   */
  constructor(on) {
    const picker = /** @type {HTMLInputElement} */ (find("#portrait-file"));
    find("#upload-portrait").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      const [file] = picker.files ?? [];
      if (file) on.file(file);
      picker.value = "";
    });
    find("#snap-portrait").addEventListener("click", on.snap);
    find("#sample-portrait").addEventListener("click", on.sample);
    this.#replace.addEventListener("click", () => {
      this.#replacing = !this.#replacing;
      this.#update();
      if (this.#replacing) find("#upload-portrait").focus();
    });
    find("#remove-portrait").addEventListener("click", () => {
      on.remove();
      this.focus();
    });
  }

  /** @param {Portrait} portrait @returns {void} */
  show(portrait) {
    // Once a new portrait is accepted, the ways to choose another are closed.
    if (portrait.state === "ready" && this.#portrait && !portrait.error) this.#replacing = false;
    this.#portrait = portrait;
    const { held, state, error } = portrait;
    if (held) {
      const thumb = /** @type {HTMLCanvasElement} */ (find("#portrait-thumb"));
      drawThumb(thumb, held.photo.canvas, held.face);
      thumb.setAttribute("aria-label", held.face ? `${held.name}, with the face that was found` : held.name);
    }
    write(find("#portrait-name"), held?.name ?? "");
    write(find("#portrait-state"), STATE_TEXTS[state]);
    find("#portrait-state").dataset.state = state;
    this.#card.setAttribute("aria-busy", String(state === "reading"));
    const problem = find("#portrait-error");
    const isNew = Boolean(error) && error !== this.#shownError;
    this.#shownError = error;
    problem.hidden = !error;
    problem.replaceChildren(
      ...(error ? [make("strong", {}, sentence(error.message)), ...(error.hint ? [make("span", {}, sentence(error.hint))] : [])] : []),
    );
    this.#update();
    if (isNew) problem.scrollIntoView({ block: "nearest" });
  }

  /** Enables the snapshot. @param {boolean} on true while there is a camera to snap from @returns {void} */
  camera(on) {
    const snap = /** @type {HTMLButtonElement} */ (find("#snap-portrait"));
    snap.disabled = !on;
    snap.title = on ? "A picture of you, after a count of three" : "Turn your camera on first";
  }

  /** Focuses the button that leads to another portrait. @returns {void} */
  focus() {
    (this.#portrait?.held ? this.#replace : find("#upload-portrait")).focus();
  }

  #update() {
    const held = Boolean(this.#portrait?.held);
    find("#portrait").hidden = !held;
    const focused = this.#ways.contains(document.activeElement);
    this.#ways.hidden = held && !this.#replacing;
    if (focused && this.#ways.hidden) this.#replace.focus({ preventScroll: true });
    this.#ways.setAttribute("aria-busy", String(!held && this.#portrait?.state === "reading"));
    this.#replace.setAttribute("aria-expanded", String(this.#replacing));
    write(this.#replace, this.#replacing ? "Keep" : "Replace");
  }
}

/** Makes a sentence of a server's message, which begins small and has no full stop. @param {string} text @returns {string} */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");
