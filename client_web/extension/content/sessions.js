// @ts-check
// The relit devices in use in one page. Loaded when the page opens the first; everything of the SDK is behind it.

import { Camera } from "./camera.js";
import { Microphone } from "./microphone.js";
import { Port } from "./port.js";
import { Preview } from "./preview.js";
import { WorkerTransport } from "./transport.js";

/** @typedef {import("./camera.js").Choices} Choices */

const REPORT_MS = 1000;
const SETTINGS_TIMEOUT_MS = 10000; // a worker that has to start first takes half a second

export class Sessions {
  /** @type {Map<number, Camera>} */
  #cameras = new Map();
  /** @type {Map<number, Microphone>} */
  #microphones = new Map();
  #port = new Port({ message: (message) => this.#receive(message), lost: () => this.#transport.lost() });
  #transport = new WorkerTransport(this.#port);
  #preview = new Preview((pictures) => this.#port.send({ op: "preview", ...pictures }));
  /** @type {(choices: Choices) => void} */
  #arrive = () => {};
  /** @type {Promise<Choices>} */
  #choices = new Promise((resolve) => (this.#arrive = resolve));
  #timer = 0;
  /** The popup is open. */
  #watched = false;

  /**
   * Relights a device.
   * @param {number} session its number in this page @param {"video" | "audio"} kind @param {MediaStreamTrack} track of the device
   * @returns {Promise<MediaStreamTrack>} the relit picture, or the sound that matches it
   */
  async open(session, kind, track) {
    this.#port.open();
    this.#timer ||= window.setInterval(() => this.#report(), REPORT_MS);
    if (kind === "audio") return this.#openMicrophone(session, track);
    return this.#openCamera(session, track).catch((error) => {
      this.close(session);
      throw error;
    });
  }

  /** Goes on with another track of the same device. @param {number} session @param {MediaStreamTrack} track @returns {void} */
  replace(session, track) {
    this.#cameras.get(session)?.replace(track);
    this.#showPreview();
  }

  /** @param {number} session @returns {void} */
  close(session) {
    this.#cameras.get(session)?.stop();
    this.#microphones.get(session)?.stop();
    this.#cameras.delete(session);
    this.#microphones.delete(session);
    this.#connectSound();
    this.#showPreview();
    if (this.#cameras.size || this.#microphones.size) return this.#report();
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#port.close();
    this.#choices = new Promise((resolve) => (this.#arrive = resolve));
  }

  /** @param {number} session @param {MediaStreamTrack} track */
  async #openCamera(session, track) {
    // Before the choices are known nobody knows whether the camera may be shown at all.
    const timeout = new Promise((_, reject) =>
      window.setTimeout(() => reject(new Error("the extension's worker does not answer")), SETTINGS_TIMEOUT_MS),
    );
    const choices = await Promise.race([this.#choices, timeout]);
    const camera = new Camera(track, choices, this.#transport, () => this.#report());
    this.#cameras.set(session, camera);
    this.#connectSound();
    this.#showPreview();
    return camera.track;
  }

  /** @param {number} session @param {MediaStreamTrack} track */
  #openMicrophone(session, track) {
    const microphone = new Microphone(track);
    this.#microphones.set(session, microphone);
    this.#connectSound();
    return microphone.track;
  }

  /** The sound waits for the picture of the camera in use; without one it does not wait. */
  #connectSound() {
    const [camera] = this.#cameras.values();
    for (const microphone of this.#microphones.values()) microphone.follow(camera?.relit ?? null);
  }

  /** @param {import("./port.js").Message} message */
  #receive(message) {
    if (message.op === "settings") {
      this.#arrive(message.settings);
      this.#choices = Promise.resolve(message.settings);
      for (const camera of this.#cameras.values()) camera.apply(message.settings);
    } else if (message.op === "preview") {
      this.#watched = message.on;
      this.#showPreview();
    } else this.#transport.receive(message);
  }

  #showPreview() {
    const [camera] = this.#cameras.values();
    if (this.#watched && camera) this.#preview.start(camera);
    else this.#preview.stop();
  }

  #report() {
    const [camera] = this.#cameras.values();
    const report = camera ? { ...camera.report(), microphone: this.#microphones.size > 0 } : null;
    this.#port.send({ op: "report", report });
  }
}
