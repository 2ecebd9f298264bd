// @ts-check
// Measures how old the displayed picture is, from the camera to the output track, and keeps the sound in step with it.

import { DelayFollower } from "./delay_follower.js";
import { SyncClock } from "./sync_clock.js";

/** @typedef {{readonly delay_s: number, follow: (move: import("./delay_follower.js").Move) => void}} Delayed a sound */

const PING_MS = 500;
const SLOW_PING_MS = 5000;
const QUICK_PINGS = 10;

export class Timing {
  #clock = new SyncClock();
  #follower = new DelayFollower();
  /** @type {Set<import("./sound.js").Sound>} */
  #sounds = new Set();
  #camera = true;
  /** No relit picture's age is known since the camera was shown. */
  #first = true;
  #timer = 0;
  #pings = 0;
  #request;

  /** @param {(type: string, fields: Record<string, unknown>) => Promise<import("../relight.js").Message>} request */
  constructor(request) {
    this.#request = request;
  }

  /** Age of the picture that is displayed, s; 0 while it is the camera's. @returns {number} */
  get delay_s() {
    return this.#follower.delay_s;
  }

  /**
   * Delays this sound as long as the picture takes.
   * @param {import("./sound.js").Sound} sound @returns {() => void} lets it go; it stays where it is
   */
  attach(sound) {
    this.#sounds.add(sound);
    sound.follow({ how: "jump", delay_s: this.delay_s });
    return () => void this.#sounds.delete(sound);
  }

  /** A session begins: its timestamps and its server's clock are its own. @returns {void} */
  begin() {
    this.end();
    this.#clock = new SyncClock();
    this.#pings = 0;
    this.#ping();
  }

  /** The session ended. @returns {void} */
  end() {
    clearTimeout(this.#timer);
  }

  /** @param {import("../peer.js").NetworkReport} report @returns {void} */
  network(report) {
    this.#clock.network(report);
  }

  /** @param {import("../relight.js").Stats} stats @returns {void} */
  stats(stats) {
    this.#clock.pair(stats.sync);
  }

  /**
   * A picture goes out.
   * @param {number | null | "camera"} rtp timestamp of a relit picture; null where the browser does not tell
   * @param {number} now_s by performance.now @returns {void}
   */
  picture(rtp, now_s) {
    const camera = rtp === "camera";
    if (camera && this.#camera) return;
    this.#camera = camera;
    const age_s = rtp === null || camera ? null : this.#clock.age_s(rtp, now_s);
    if (camera) this.#follower.reset(0);
    else if (age_s === null) return;
    else if (this.#first) this.#follower.reset(Math.max(0, age_s)); // others came before it: it is steady
    else this.#follower.picture(Math.max(0, age_s), now_s);
    this.#first = camera;
    for (const sound of this.#sounds) sound.follow(this.#follower.moveFrom(sound.delay_s));
  }

  async #ping() {
    const clock = this.#clock;
    const sent_s = performance.now() / 1000;
    const answer = await this.#request("ping", { t: sent_s }).catch(() => null);
    if (clock !== this.#clock) return;
    if (answer) clock.pong(sent_s, performance.now() / 1000, answer.server_s);
    this.#pings += 1;
    this.#timer = window.setTimeout(() => this.#ping(), this.#pings < QUICK_PINGS ? PING_MS : SLOW_PING_MS);
  }
}
