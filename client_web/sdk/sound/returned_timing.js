// @ts-check
// Tells when the returned sound is to be heard: its sample when the picture of the same moment is displayed. The server says which RTP
// timestamps of sound and picture are of one moment; both advance together from then on.

import { DelayFollower } from "./delay_follower.js";

/** @typedef {import("../relight.js").Stats["sync"]} Sync */
/** @typedef {import("./returned_sound.js").Heard} Heard */

const PICTURE_HZ = 90000;

export class ReturnedTiming {
  /** @type {{rtp: number, sound_rtp: number, elapsed_s: number} | null} */
  #pair = null;
  #follower = new DelayFollower();

  /** Takes a pair of the server. @param {Sync | undefined} sync @returns {void} */
  pair(sync) {
    if (!sync || typeof sync.sound_rtp !== "number") return;
    // Timestamps have 32 bits and wrap: what has passed is counted from pair to pair.
    const elapsed_s = this.#pair ? this.#pair.elapsed_s + this.#since_s(this.#pair, sync.rtp) : 0;
    this.#pair = { rtp: sync.rtp, sound_rtp: sync.sound_rtp, elapsed_s };
  }

  /**
   * Takes a returned picture as it is displayed.
   * @param {number} rtp @param {number} now_s by performance.now @returns {Heard | null} null: not known yet
   */
  picture(rtp, now_s) {
    const pair = this.#pair;
    if (!pair) return null;
    this.#follower.picture(now_s - pair.elapsed_s - this.#since_s(pair, rtp), now_s);
    return this.#follower.settled ? { rtp: pair.sound_rtp, at_s: this.#follower.delay_s + pair.elapsed_s } : null;
  }

  /** @param {{rtp: number}} pair @param {number} rtp */
  #since_s(pair, rtp) {
    return ((rtp - pair.rtp) | 0) / PICTURE_HZ;
  }
}
