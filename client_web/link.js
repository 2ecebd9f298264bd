// @ts-check
// Keeps a Channel and a Peer alive together: whichever is lost, both are replaced, with growing pauses between attempts.
// The one place that reconnects. Everything it learns it says through `on…` handlers.

import { Channel, Gone, Refused } from "./protocol.js";
import { Peer } from "./peer.js";

/** @typedef {"connecting" | "live" | "reconnecting" | "resting"} LinkState */
/** @typedef {import("./protocol.js").Message} Message */

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
const SILENCE_MS = 6000;
/** An answer that has not come by then will not come: the server hangs. */
const PATIENCE_MS = 15000;

export class Link {
  /** @type {Channel | null} */
  #channel = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {"480p" | "720p"} */
  #size = "480p";
  #attempts = 0;
  #timer = 0;
  #watch = 0;
  #url;
  #on;

  /**
   * @param {string} url
   * @param {object} on
   * @param {(state: LinkState, message: string) => void} on.state
   * @param {(welcome: import("./protocol.js").Welcome) => Promise<void>} on.welcome the moment to restore the choices; our picture waits for it
   * @param {(stream: MediaStream) => void} on.picture
   * @param {(message: Message) => void} on.message stats and notices
   * @param {(error: Error) => void} on.trouble
   */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    window.addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  get peer() {
    return this.#peer;
  }

  /**
   * Send this picture from now on; null: hang up, and give the place on the server back until there is one again.
   * @param {MediaStreamTrack | null} track @param {"480p" | "720p"} size
   */
  async send(track, size) {
    const rested = !this.#track;
    this.#track = track;
    this.#size = size;
    if (track && rested) this.open();
    else if (track) await this.#peer?.send(track, size);
    else this.#rest();
  }

  /** @param {string} type @param {Record<string, unknown>} [fields] @returns {Promise<Message>} */
  ask(type, fields) {
    return this.#channel ? this.#channel.ask(type, fields) : Promise.reject(new Gone("not connected"));
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#attempts = 0;
    this.#on.state("resting", "");
  }

  open() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#on.state(this.#attempts ? "reconnecting" : "connecting", "");
    /** @type {Channel} */
    const channel = new Channel(this.#url, {
      onMessage: (message) => channel === this.#channel && this.#heard(message),
      onClose: (reason) => channel === this.#channel && this.#lost(reason),
    });
    this.#channel = channel;
    this.#watch = window.setTimeout(() => this.#lost("The server does not answer."), PATIENCE_MS);
  }

  close() {
    this.#track = null;
    this.#rest();
  }

  /** @param {Message} message */
  #heard(message) {
    if (message.type === "welcome") {
      const welcome = /** @type {any} */ (message);
      const channel = this.#channel;
      const call = async () => {
        await this.#on.welcome(welcome);
        if (channel === this.#channel) await this.#call(welcome.ice_servers ?? []);
      };
      call().catch((error) => {
        if (channel !== this.#channel) return;
        if (error instanceof Refused) this.#on.trouble(error);
        if (!(error instanceof Gone)) this.#lost(error.message);
      });
    } else if (message.type === "candidate") {
      this.#peer?.candidate(message.candidate).catch(() => {}); // a candidate of a network we do not have
    } else if (message.type === "notice" && message.code === "connection_ended") {
      this.#lost(message.message);
    } else {
      this.#on.message(message);
    }
  }

  /** @param {RTCIceServer[]} iceServers */
  async #call(iceServers) {
    const channel = /** @type {Channel} */ (this.#channel);
    /** @type {(value?: unknown) => void} */
    let offered = () => {};
    const sent = new Promise((resolve) => (offered = resolve));
    /** @type {Peer} */
    const peer = new Peer({
      iceServers,
      onPicture: (stream) => peer === this.#peer && this.#on.picture(stream),
      onCandidate: async (candidate) => {
        await sent; // the server must know the offer before its candidates
        if (peer === this.#peer) channel.ask("candidate", { candidate: candidate?.toJSON() ?? null }).catch(() => {});
      },
      onLost: (why) => peer === this.#peer && this.#lost(why),
    });
    this.#peer = peer;
    await peer.send(this.#track, this.#size);
    const answer = channel.ask("offer", { sdp: await peer.offer() });
    offered();
    await peer.accept((await answer).sdp);
    await peer.send(this.#track, this.#size); // the track may have changed, and bitrates can be set only now
    clearTimeout(this.#watch);
    this.#listen(peer);
  }

  /** The picture itself is the proof of life: no decoded frame for a while and the link counts as lost. @param {Peer} peer */
  #listen(peer) {
    let frames = -1;
    let since = performance.now();
    const look = async () => {
      if (peer !== this.#peer) return;
      const report = await peer.report().catch(() => null);
      if (peer !== this.#peer) return;
      if (report) {
        // A hidden page may be given neither frames to send nor frames to show.
        if (report.frames !== frames || this.#track?.muted || document.hidden) since = performance.now();
        if (frames <= 0 && report.frames > 0) {
          this.#attempts = 0;
          this.#on.state("live", "");
        }
        frames = report.frames;
        this.onReport?.(report);
      }
      const patience = frames > 0 ? SILENCE_MS : PATIENCE_MS;
      if (performance.now() - since > patience) return this.#lost("No picture arrives.");
      this.#watch = window.setTimeout(look, frames > 0 ? 500 : 150);
    };
    look();
  }

  /** @type {((report: import("./peer.js").NetworkReport) => void) | null} */
  onReport = null;

  #drop() {
    clearTimeout(this.#watch);
    const [channel, peer] = [this.#channel, this.#peer];
    this.#channel = this.#peer = null;
    peer?.close();
    channel?.close();
  }

  /** @param {string} why */
  #lost(why) {
    this.#drop();
    if (!this.#track) return;
    // Jitter keeps a room of clients from returning in step after a restart.
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#attempts) * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.#on.state("reconnecting", why);
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.open(), pause);
  }

  #hurry() {
    if (!this.#channel && this.#track) this.open();
  }
}
