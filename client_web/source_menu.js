// @ts-check
// The controls of the source: the menu of cameras, the button that turns the camera on and off, and the size.

import { listCameras, onCamerasChanged } from "./camera.js";
import { find, make } from "./dom.js";
import { segments, toggle } from "./controls.js";

/** @typedef {import("./store.js").Choices} Choices */

const SAMPLE = "sample"; // value in the menu; no deviceId is spelt so

export class SourceMenu {
  #menu = /** @type {HTMLSelectElement} */ (find("#camera"));
  #button;
  #size;
  #store;
  #source;

  /** @param {import("./store.js").Store} store @param {import("./source.js").Source} source */
  constructor(store, source) {
    this.#store = store;
    this.#source = source;
    this.#button = toggle("#camera-toggle", (on) => (on ? this.useCamera() : source.off()));
    this.#size = segments("#video-size", (value) => {
      store.set({ size: /** @type {Choices["size"]} */ (value) });
      if (source.now.kind === "camera") this.useCamera();
    });
    this.#menu.addEventListener("change", () => {
      if (this.#menu.value === SAMPLE) return this.useSample();
      store.set({ device: this.#menu.value });
      this.useCamera();
    });
    find("#use-camera").addEventListener("click", () => this.useCamera());
    find("#use-sample").addEventListener("click", () => this.useSample());
    onCamerasChanged(() => this.#list());
  }

  /** Sends the camera, now and next time. @returns {void} */
  useCamera() {
    this.#store.set({ source: "camera" });
    this.#source.camera(this.#store.now.device, this.#store.now.size);
  }

  /** Sends the sample, now and next time. @returns {void} */
  useSample() {
    this.#store.set({ source: "sample" });
    this.#source.sample();
  }

  /** Shows the picture that is sent now. @param {import("./source.js").Picture} picture @returns {void} */
  show(picture) {
    this.#button.show(picture.kind === "camera");
    this.#list();
  }

  /** @param {Choices["size"]} size @returns {void} */
  size(size) {
    this.#size.show(size);
  }

  async #list() {
    const found = await listCameras().catch(() => []);
    const { kind, stream } = this.#source.now;
    const current = stream?.getVideoTracks()[0]?.getSettings().deviceId;
    this.#menu.replaceChildren(
      ...found.map(({ deviceId, label }) => make("option", { value: deviceId }, label)),
      ...(found.length ? [] : [make("option", { value: "" }, "My camera")]),
      make("option", { value: SAMPLE }, "Sample portrait"),
    );
    this.#menu.value = kind === "sample" ? SAMPLE : (current ?? (this.#store.now.device || found[0]?.deviceId || ""));
  }
}
