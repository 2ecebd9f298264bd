// @ts-check
// A portrait from one's own camera: three, two, one. The participant sees themselves meanwhile, as only they can.

import { find, write } from "./dom.js";
import { photoOfVideo } from "./photo.js";

/** @typedef {import("./photo.js").Photo} Photo */

const SECONDS = 3;

export class Snap {
  #overlay = find("#countdown");
  #number = find("#count");
  #video = /** @type {HTMLVideoElement} */ (find("#local"));
  #timer = 0;
  #on;

  /**
   * @param {object} on
   * @param {(framing: boolean) => void} on.framing the stage shows the camera
   * @param {(photo: Photo) => void} on.taken
   * @param {(error: unknown) => void} on.trouble
   * @param {() => void} on.cancelled
   */
  constructor(on) {
    this.#on = on;
    find("#cancel-snap").addEventListener("click", () => this.cancel());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.cancel());
  }

  start() {
    if (this.#timer) return;
    this.#frame(true);
    find("#stage").scrollIntoView({ block: "nearest" });
    find("#cancel-snap").focus({ preventScroll: true });
    this.#count(SECONDS);
  }

  cancel() {
    if (!this.#timer) return;
    this.#stop();
    this.#on.cancelled();
  }

  /** @param {number} left */
  #count(left) {
    if (left === 0) return void this.#take();
    write(this.#number, String(left));
    this.#number.animate?.({ opacity: [0, 1, 1], transform: ["scale(1.25)", "scale(1)", "scale(1)"] }, { duration: calm() ? 1 : 300 });
    this.#timer = window.setTimeout(() => this.#count(left - 1), 1000);
  }

  async #take() {
    try {
      if (!this.#video.videoWidth) throw new Error("The camera shows no picture");
      const photo = await photoOfVideo(this.#video);
      if (!calm()) find("#stage").animate?.({ filter: ["brightness(2.2)", "brightness(1)"] }, { duration: 360, easing: "ease-out" });
      this.#stop();
      this.#on.taken(photo);
    } catch (error) {
      this.#stop();
      this.#on.trouble(error);
    }
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#frame(false);
  }

  /** @param {boolean} on */
  #frame(on) {
    this.#overlay.hidden = !on;
    write(this.#number, "");
    this.#on.framing(on);
  }
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
