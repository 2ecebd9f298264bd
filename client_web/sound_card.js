// @ts-check
// The controls of the sound: the menu of microphones, the button that mutes, the level meter and hearing oneself.

import { find, make, write } from "./dom.js";
import { Meter } from "./meter.js";
import { listMicrophones, Microphone } from "./microphone.js";

/** @typedef {import("./microphone.js").MicrophoneState} MicrophoneState */

const NONE = "none"; // value in the menu; no deviceId is spelt so

export class SoundCard {
  #menu = /** @type {HTMLSelectElement} */ (find("#microphone"));
  #button = find("#microphone-toggle");
  #monitor = find("#monitor");
  #heard = /** @type {HTMLAudioElement} */ (find("#monitor-sound"));
  #meter = new Meter();
  #microphone;
  #store;
  #onError;

  /**
   * @param {import("./store.js").Store} store
   * @param {object} on
   * @param {(track: MediaStreamTrack | null) => void} on.track the microphone was opened, changed or released
   * @param {(error: unknown) => void} on.error
   */
  constructor(store, on) {
    this.#store = store;
    this.#onError = on.error;
    /** @type {MediaStreamTrack | null} */
    let sent = null;
    this.#microphone = new Microphone({
      change: (state, track) => {
        this.#show(state, track);
        if (track === sent) return;
        sent = track;
        on.track(track);
      },
      failed: on.error,
    });
    this.#button.addEventListener("click", () => this.toggle());
    this.#menu.addEventListener("change", () => {
      if (this.#menu.value === NONE) return this.#microphone.close();
      store.set({ microphone: this.#menu.value });
      this.#microphone.open(this.#menu.value);
    });
    this.#monitor.addEventListener("click", () => this.#hear(this.#monitor.getAttribute("aria-checked") !== "true"));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#list());
    this.#list();
  }

  /** Opens the microphone; once it is open, mutes it or lets it be heard again. @returns {void} */
  toggle() {
    const { state } = this.#microphone;
    if (state === "off") this.#microphone.open(this.#store.now.microphone);
    else if (state !== "asking") this.#microphone.mute(state === "on");
  }

  /** Takes the sound that matches the relit picture, for hearing oneself. @param {MediaStreamTrack | null} track @returns {void} */
  matched(track) {
    this.#heard.srcObject = track && new MediaStream([track]);
    if (track && this.#monitor.getAttribute("aria-checked") === "true") this.#heard.play().catch(this.#onError);
  }

  /** Says where the sound goes. @param {boolean} shared it goes to the server and its viewers @returns {void} */
  shared(shared) {
    write(find("#sound-way"), shared ? "Your microphone is sent to the server, for your viewers." : "Your microphone stays on this machine.");
    find("#sound-way").classList.toggle("sends", shared);
  }

  /** @param {boolean} on */
  #hear(on) {
    this.#monitor.setAttribute("aria-checked", String(on));
    if (!on) this.#heard.pause();
    else if (this.#heard.srcObject) this.#heard.play().catch(this.#onError);
  }

  /** @param {MicrophoneState} state @param {MediaStreamTrack | null} track */
  #show(state, track) {
    this.#button.setAttribute("aria-pressed", String(state === "on"));
    this.#button.setAttribute("aria-busy", String(state === "asking"));
    this.#button.classList.toggle("muted", state === "muted");
    write(find("#muted-chip"), state === "muted" ? "Muted" : "");
    this.#meter.follow(state === "on" ? track : null);
    this.#list();
  }

  async #list() {
    const found = await listMicrophones().catch(() => []);
    const { track } = this.#microphone;
    this.#menu.replaceChildren(
      make("option", { value: NONE }, "No microphone"),
      ...(found.length ? found.map(({ deviceId, label }) => make("option", { value: deviceId }, label)) : [make("option", { value: "" }, "My microphone")]),
    );
    this.#menu.value = track ? (track.getSettings().deviceId ?? "") : NONE;
  }
}
