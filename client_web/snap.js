// @ts-check
// A portrait from one's own camera: three, two, one, and keep or retake. All of it happens on the stage; nobody else sees it.

import { find, write } from "./dom.js";
import { photoOfVideo } from "./photo.js";

/** @typedef {import("./photo.js").Photo} Photo */

const SECONDS = 3;

export class Snap {
  #overlay = find("#countdown");
  #number = find("#count");
  #video = /** @type {HTMLVideoElement} */ (find("#local"));
  #shot = find("#shot");
  #timer = 0;
  /** On trial. @type {Photo | null} */
  #photo = null;
  #on;

  /**
   * @param {object} on
   * @param {(framing: boolean) => void} on.framing the stage shows the camera
   * @param {(photo: Photo) => void} on.keep
   * @param {(error: unknown) => void} on.trouble
   * @param {() => void} on.over whatever came of it
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

  start() {
    if (this.#timer) return;
    this.#judge(null);
    this.#overlay.hidden = false;
    this.#on.framing(true);
    find("#stage").scrollIntoView({ block: "nearest" });
    find("#cancel-snap").focus({ preventScroll: true });
    this.#count(SECONDS);
  }

  cancel() {
    if (!this.#timer && !this.#photo) return;
    this.#stop();
    this.#judge(null);
    this.#on.framing(false);
    this.#on.over();
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
      if (!this.#timer) return; // cancelled while the JPEG was made
      this.#stop();
      this.#judge(photo);
    } catch (error) {
      this.cancel();
      this.#on.trouble(error);
    }
  }

  /** @param {Photo | null} photo */
  #judge(photo) {
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

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
