// @ts-check
// Tells which returned pictures show the avatar for certain. What was under way when the avatar was chosen shows the camera.

/** Where a picture cannot be told from those before: as long as one may have been under way. */
const UNDER_WAY_MS = 1000;

export class AvatarGate {
  /** Since when the server sends the avatar. @type {{rtp: number | null, at_ms: number} | null} */
  #since = null;

  /** Forgets what was known: an avatar was chosen, or there is another connection. @returns {void} */
  close() {
    this.#since = null;
  }

  /**
   * Takes what the server says it shows.
   * @param {boolean} avatar @param {import("./relight.js").Stats["sync"]} sync @param {number} now_ms @returns {void}
   */
  stats(avatar, sync, now_ms) {
    if (!avatar) this.#since = null;
    else this.#since ??= { rtp: sync?.rtp ?? null, at_ms: now_ms };
  }

  /** @param {number | null} rtp timestamp of a picture @param {number} now_ms @returns {boolean} true: it shows the avatar */
  admits(rtp, now_ms) {
    if (!this.#since) return false;
    const { rtp: first, at_ms } = this.#since;
    return first === null || rtp === null ? now_ms - at_ms > UNDER_WAY_MS : ((rtp - first) | 0) > 0;
  }
}
