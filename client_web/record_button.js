// @ts-check
// The button that records, the time on the picture, and the question before a page with a running recording is left.

import { find, write } from "./dom.js";
import { Recorder, recordedType } from "./recorder.js";
import { removeLeftovers } from "./spool.js";
import { trouble } from "./trouble.js";

/** @typedef {import("./recorder.js").RecorderState} RecorderState */

const NAMES = /** @type {Record<RecorderState, string>} */ ({ idle: "Record", starting: "Record", recording: "Stop", saving: "Saving" });
const EVERY_MS = 250;

/** Writes a time as m:ss or h:mm:ss. @param {number} seconds @returns {string} */
export function clock(seconds) {
  const two = (/** @type {number} */ value) => String(Math.floor(value) % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return seconds < 3600 ? `${minutes}:${two(seconds)}` : `${Math.floor(minutes / 60)}:${two(minutes)}:${two(seconds)}`;
}

/** Writes the size of a file. @param {number} bytes @returns {string} */
const size = (bytes) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

export class RecordButton {
  #button = /** @type {HTMLButtonElement} */ (find("#record"));
  #recorder;
  #timer = 0;

  /**
   * @param {MediaStream} relit picture and sound; their tracks stay the same once they are there
   * @param {() => MediaStream | null} source what is relit
   * @param {(error: unknown) => void} onError
   */
  constructor(relit, source, onError) {
    this.#recorder = new Recorder({
      change: (state) => this.#show(state),
      saved: ({ name, bytes, seconds }) =>
        trouble({ code: "recorded", message: `Recorded ${clock(seconds)}`, hint: `${name}, ${size(bytes)}, is among your downloads.` }),
      failed: onError,
    });
    this.#button.hidden = !recordedType();
    this.#button.addEventListener("click", () => {
      if (this.#recorder.state !== "idle") return this.#recorder.stop();
      const [[picture = null], [sound = null]] = [relit.getVideoTracks(), relit.getAudioTracks()];
      this.#recorder.start(picture, sound, source()?.getVideoTracks()[0]?.getSettings());
    });
    window.addEventListener("beforeunload", (event) => this.#recorder.state !== "idle" && event.preventDefault());
    removeLeftovers();
  }

  /** Takes the sound for a recording that began without one. @param {MediaStreamTrack | null} track @returns {void} */
  sound(track) {
    this.#recorder.sound(track);
  }

  /** @param {RecorderState} state */
  #show(state) {
    const on = state === "recording";
    this.#button.dataset.state = state;
    this.#button.setAttribute("aria-busy", String(state === "starting" || state === "saving"));
    write(find("#record-name"), NAMES[state]);
    find("#record-chip").hidden = !on;
    document.title = on ? "● Recording · Relight" : "Relight";
    clearInterval(this.#timer);
    const tick = () => write(find("#record-time"), clock(this.#recorder.seconds));
    tick();
    if (on) this.#timer = window.setInterval(tick, EVERY_MS);
  }
}
