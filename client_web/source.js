// @ts-check
// Holds the picture that is sent: the camera, the sample portrait, or none. Only one is open at a time.

import { NoCamera, openCamera } from "./camera.js";
import { openSample } from "./sample.js";

/** @typedef {"camera" | "sample" | "off"} SourceKind */
/** @typedef {{kind: SourceKind, stream: MediaStream | null, why: NoCamera | null, asking: boolean}} Picture */

export class Source {
  /** @type {Picture} */
  now = { kind: "off", stream: null, why: null, asking: false };
  #release = () => {};
  #attempt = 0;
  #onChange;

  /** @param {(picture: Picture) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /**
   * Opens the camera, or the sample where that fails.
   * @param {string} deviceId empty: any @param {"480p" | "720p"} size @returns {Promise<void>}
   */
  async camera(deviceId, size) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    if (this.now.kind !== "camera") this.#set({ ...this.now, asking: true });
    try {
      const stream = await openCamera(deviceId, size);
      if (attempt !== this.#attempt) return stream.getTracks().forEach((track) => track.stop());
      const [track] = stream.getVideoTracks();
      track.addEventListener("ended", () => {
        const lost = new NoCamera("camera_lost", "The camera was disconnected", "Plug it in again, or choose another.");
        if (this.now.stream === stream) this.sample(lost);
      });
      this.#replace({ kind: "camera", stream, why: null, asking: false }, () =>
        stream.getTracks().forEach((each) => each.stop()),
      );
    } catch (error) {
      if (attempt === this.#attempt) await this.sample(/** @type {NoCamera} */ (error));
    }
  }

  /**
   * Opens the sample.
   * @param {NoCamera | null} [why] there is no camera @param {boolean} [asking] true: the camera is opened next
   * @returns {Promise<void>}
   */
  async sample(why = null, asking = false) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    if (this.now.kind === "sample") return this.#set({ ...this.now, why, asking });
    const { stream, stop } = await openSample();
    if (attempt !== this.#attempt) return stop();
    this.#replace({ kind: "sample", stream, why, asking }, stop);
  }

  /** Sends nothing. @returns {void} */
  off() {
    this.#attempt += 1;
    this.#replace({ kind: "off", stream: null, why: null, asking: false }, () => {});
  }

  /** Switches to a picture, then releases the one before it. @param {Picture} picture @param {() => void} release closes it */
  #replace(picture, release) {
    const before = this.#release;
    this.#release = release;
    this.#set(picture);
    before();
  }

  /** @param {Picture} picture */
  #set(picture) {
    this.now = picture;
    this.#onChange(picture);
  }
}
