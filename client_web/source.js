// @ts-check
// What is sent: the camera, the sample portrait when there is none, or nothing. One at a time; the others are released.

import { NoCamera, openCamera } from "./camera.js";
import { openSample } from "./sample.js";

/** @typedef {"camera" | "sample" | "off"} SourceKind */
/** @typedef {{kind: SourceKind, stream: MediaStream | null, why: NoCamera | null, asking: boolean}} Picture */

export class Source {
  /** @type {Picture} */
  now = { kind: "off", stream: null, why: null, asking: false };
  #release = () => {};
  #turn = 0;
  #onChange;

  /** @param {(picture: Picture) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** @param {string} deviceId @param {"480p" | "720p"} size */
  async camera(deviceId, size) {
    this.#turn += 1;
    const turn = this.#turn;
    if (this.now.kind !== "camera") this.#set({ ...this.now, asking: true });
    try {
      const stream = await openCamera(deviceId, size);
      if (turn !== this.#turn) return stream.getTracks().forEach((track) => track.stop());
      const [track] = stream.getVideoTracks();
      track.addEventListener("ended", () => {
        const lost = new NoCamera("camera_lost", "The camera was disconnected", "Plug it in again, or choose another.");
        if (this.now.stream === stream) this.sample(lost);
      });
      this.#become({ kind: "camera", stream, why: null, asking: false }, () =>
        stream.getTracks().forEach((each) => each.stop()),
      );
    } catch (error) {
      if (turn === this.#turn) await this.sample(/** @type {NoCamera} */ (error));
    }
  }

  /** @param {NoCamera | null} [why] @param {boolean} [asking] the camera will be asked for at once */
  async sample(why = null, asking = false) {
    this.#turn += 1;
    const turn = this.#turn;
    if (this.now.kind === "sample") return this.#set({ ...this.now, why, asking });
    const { stream, stop } = await openSample();
    if (turn !== this.#turn) return stop();
    this.#become({ kind: "sample", stream, why, asking }, stop);
  }

  off() {
    this.#turn += 1;
    this.#become({ kind: "off", stream: null, why: null, asking: false }, () => {});
  }

  /** @param {Picture} picture @param {() => void} release frees it again */
  #become(picture, release) {
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
