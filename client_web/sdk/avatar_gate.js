// @ts-check
// Tells which returned pictures show the avatar for certain. What was under way when the avatar was chosen shows the camera.

/** Where a picture cannot be told from those before: as long as one may have been under way. */
const UNDER_WAY_MS = 1000;

/** @typedef {{since: {rtp: number | null, at_ms: number} | null}} Connection since when the server sends the avatar */

export class AvatarGate {
  /** Whose pictures are shown. @type {Connection} */
  #shown = { since: null };
  /** The newest one, which the server's words are about. @type {Connection} */
  #newest = this.#shown;

  /** Forgets what was known: an avatar was chosen, or the connection was lost. @returns {void} */
  close() {
    this.#shown.since = this.#newest.since = null;
  }

  /** Another connection is being made; the pictures of the one before may go on. @returns {void} */
  expect() {
    this.#newest = { since: null };
  }

  /**
   * Takes what the server says it shows.
   * @param {boolean} avatar @param {import("./relight.js").Stats["sync"]} sync @param {number} now_ms @returns {void}
   */
  stats(avatar, sync, now_ms) {
    const newest = this.#newest;
    if (!avatar) newest.since = null;
    else if (!newest.since || (newest.since.rtp === null && sync)) newest.since = { rtp: sync?.rtp ?? null, at_ms: now_ms };
  }

  /** @param {number | null} rtp timestamp of a picture that is shown @param {number} now_ms @returns {boolean} true: it shows the avatar */
  admits(rtp, now_ms) {
    return admits(this.#shown, rtp, now_ms);
  }

  /**
   * Takes over the newest connection, whose pictures are shown from now on.
   * @param {boolean} covered only where this picture shows the avatar
   * @param {number | null} rtp timestamp of its picture @param {number} now_ms @returns {boolean} true: it did
   */
  takeOver(covered, rtp, now_ms) {
    if (covered && !admits(this.#newest, rtp, now_ms)) return false;
    this.#shown = this.#newest;
    return true;
  }
}

/** @param {Connection} connection @param {number | null} rtp @param {number} now_ms */
function admits({ since }, rtp, now_ms) {
  if (!since) return false;
  return since.rtp === null || rtp === null ? now_ms - since.at_ms > UNDER_WAY_MS : ((rtp - since.rtp) | 0) > 0;
}
