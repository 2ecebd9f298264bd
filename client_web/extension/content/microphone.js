// @ts-check
// The twin of a microphone: its sound, held back as long as the relit picture of this page takes.

import { Sound } from "../../sdk/sound/sound.js";

export class Microphone {
  #sound = new Sound();
  /** @type {import("../../sdk/relit.js").Relit | null} */
  #relit = null;
  #letGo = () => {};

  /** @param {MediaStreamTrack} track */
  constructor(track) {
    this.#sound.setSource(track);
  }

  /** @returns {MediaStreamTrack} */
  get track() {
    return this.#sound.track;
  }

  /** @param {import("../../sdk/relit.js").Relit | null} relit null: nothing to wait for @returns {void} */
  follow(relit) {
    if (relit === this.#relit) return;
    this.#letGo();
    this.#relit = relit;
    this.#letGo = relit ? relit.lead(this.#sound) : () => {};
    if (!relit) this.#sound.follow({ how: "jump", delay_s: 0 });
  }

  /** @returns {void} */
  stop() {
    this.#letGo();
    this.#sound.stop();
  }
}
