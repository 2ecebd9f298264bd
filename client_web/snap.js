// @ts-check
// Takes a portrait with the participant's camera: a countdown, a photo, then keep or retake. All of it happens on the stage
// of this page; nobody else sees it.

import { find, write } from "./dom.js";
import { photoOfVideo } from "./sdk/photo.js";

/** @typedef {import("./sdk/photo.js").Photo} Photo */

const COUNTDOWN_S = 3;

export class Snap {
  #overlay = find("#countdown");
  #number = find("#count");
  #video = /** @type {HTMLVideoElement} */ (find("#local"));
  #shot = find("#shot");
  #timer = 0;
  /** The photo that the participant has neither kept nor discarded yet. @type {Photo | null} */
  #photo = null;
  #on;

  /**
   * @param {object} on
   * @param {(framing: boolean) => void} on.framing true: the stage is to show the camera
   * @param {(photo: Photo) => void} on.keep
   * @param {(error: unknown) => void} on.failed
   * @param {() => void} on.closed after keep, discard, Escape or a failure
   */
  constructor(on) {
    this.#on = on;
    find("#cancel-snap").addEventListener("click", () => this.cancel());
    find("#drop-shot").addEventListener("click", () => this.cancel());
    find("#retake-shot").addEventListener("click", () => this.start());
    find("#keep-shot").addEventListener("click", () => {
      const photo = this.#photo;
      this.cancel();
      if (photo) on.keep(photo);
    });
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.cancel());
  }

  /** Begins the countdown. @returns {void} */
  start() {
    if (this.#timer) return;
    this.#review(null);
    this.#overlay.hidden = false;
    this.#on.framing(true);
    find("#stage").scrollIntoView({ block: "nearest" });
    find("#cancel-snap").focus({ preventScroll: true });
    this.#countDown(COUNTDOWN_S);
  }

  /** Ends the countdown or discards the photo; does nothing where there is neither. @returns {void} */
  cancel() {
    if (!this.#timer && !this.#photo) return;
    this.#stop();
    this.#review(null);
    this.#on.framing(false);
    this.#on.closed();
  }

  /** @param {number} left in seconds */
  #countDown(left) {
    if (left === 0) return void this.#take();
    write(this.#number, String(left));
    const shrink = { opacity: [0, 1, 1], transform: ["scale(1.25)", "scale(1)", "scale(1)"] };
    this.#number.animate?.(shrink, { duration: prefersReducedMotion() ? 1 : 300 });
    this.#timer = window.setTimeout(() => this.#countDown(left - 1), 1000);
  }

  async #take() {
    try {
      if (!this.#video.videoWidth) throw new Error("The camera shows no picture");
      const photo = await photoOfVideo(this.#video);
      const flash = { filter: ["brightness(2.2)", "brightness(1)"] };
      if (!prefersReducedMotion()) find("#stage").animate?.(flash, { duration: 360, easing: "ease-out" });
      if (!this.#timer) return; // cancelled while the JPEG was made
      this.#stop();
      this.#review(photo);
    } catch (error) {
      this.cancel();
      this.#on.failed(error);
    }
  }

  /** @param {Photo | null} photo */
  #review(photo) {
    this.#photo = photo;
    this.#shot.hidden = !photo;
    find("#shot-picture").replaceChildren(...(photo ? [photo.canvas] : []));
    if (photo) find("#keep-shot").focus({ preventScroll: true });
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#overlay.hidden = true;
    write(this.#number, "");
  }
}

/** True where the participant asked the system for less motion. @returns {boolean} */
const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
