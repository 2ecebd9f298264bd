// @ts-check
// Tells how old a returned picture is. Its RTP timestamp advances with the source's time, so one constant a connection dates every
// picture: page time of capture = rtp / 90000 + K. The server says when the picture of one timestamp had arrived, by its clock;
// pings tell that clock from ours, and the way there (encoder, network, decoder) is measured and taken off.

/** @typedef {import("../relight.js").Stats["sync"]} Sync */

const RTP_HZ = 90000;
/**
 * The fastest way there counts: the others waited somewhere. Few, since a browser's sender takes its first seconds to find the
 * clock of its camera: until then its timestamps creep (10 ms in 7 s were seen in Chromium 156).
 */
const WINDOW = 4;
/** A pair so far from the others is of another camera; with a returned sound, whose clock the timestamps then run on, of another delay. */
const OTHER_SOURCE_S = 0.25;
const OTHER_DELAY_S = 0.06;
const PINGS = 20;

export class SyncClock {
  /** Server clock minus page clock, with the round trip it was measured in, s. @type {{offset_s: number, rtt_s: number}[]} */
  #pings = [];
  /** @type {number[]} K and the way there, s */
  #bases = [];
  /** The newest pair, and the seconds from the first one to it. @type {{rtp: number, elapsed_s: number} | null} */
  #reference = null;
  #encode_s = 0;
  #rtt_s = Infinity;

  /**
   * Takes an answer to a ping.
   * @param {number} sent_s @param {number} received_s by the page's clock @param {number} server_s by the server's @returns {void}
   */
  pong(sent_s, received_s, server_s) {
    this.#pings.push({ offset_s: server_s - (sent_s + received_s) / 2, rtt_s: received_s - sent_s });
    if (this.#pings.length > PINGS) this.#pings.shift();
  }

  /** Takes what the browser measured. @param {import("../peer.js").NetworkReport} report @returns {void} */
  network({ encode_ms, send_ms, rtt_ms }) {
    // Smoothed, since a large picture takes the encoder longer than the others.
    this.#encode_s = 0.8 * this.#encode_s + 0.2 * ((encode_ms + send_ms) / 1000);
    if (rtt_ms) this.#rtt_s = rtt_ms / 1000;
  }

  /** Encoder and network. The first round trip a connection measures is that of its checks: ten times too long. */
  get #upstream_s() {
    return this.#encode_s + Math.min(this.#rtt_s, ...this.#pings.map(({ rtt_s }) => rtt_s)) / 2;
  }

  /** Takes a pair of the server. @param {Sync | undefined} sync @returns {void} */
  pair(sync) {
    if (!sync || !this.#pings.length) return;
    // Timestamps have 32 bits and wrap: what has passed is counted from pair to pair.
    this.#reference = { rtp: sync.rtp, elapsed_s: this.#reference ? this.#elapsed_s(sync.rtp) : 0 };
    const { offset_s } = this.#pings.reduce((best, each) => (each.rtt_s < best.rtt_s ? each : best));
    const base_s = sync.arrived_s - offset_s - (sync.decode_ms ?? 0) / 1000 - this.#elapsed_s(sync.rtp);
    const other_s = typeof sync.sound_rtp === "number" ? OTHER_DELAY_S : OTHER_SOURCE_S;
    if (this.#bases.length && Math.abs(base_s - Math.min(...this.#bases)) > other_s) this.#bases = [];
    this.#bases.push(base_s);
    if (this.#bases.length > WINDOW) this.#bases.shift();
  }

  /**
   * Age of the picture with a timestamp.
   * @param {number} rtp @param {number} now_s by the page's clock @returns {number | null} s; null where it is not known yet
   */
  age_s(rtp, now_s) {
    if (this.#reference === null || !this.#bases.length) return null;
    return now_s - this.#elapsed_s(rtp) - (Math.min(...this.#bases) - this.#upstream_s);
  }

  /** From the first pair to this timestamp, which is of about the time of the newest one. @param {number} rtp */
  #elapsed_s(rtp) {
    const { rtp: newest, elapsed_s } = /** @type {{rtp: number, elapsed_s: number}} */ (this.#reference);
    return elapsed_s + ((rtp - newest) | 0) / RTP_HZ;
  }
}
