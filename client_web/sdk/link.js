// @ts-check
// Keeps a Channel and a Peer alive together: when either is lost, both are replaced, with growing pauses between attempts.
// No other file reconnects. Everything it learns it passes on to its handlers.

import { Channel, Disconnected, Refused } from "./protocol.js";
import { iceConfiguration, whyUnreachable } from "./network/ice.js";
import { Peer } from "./peer.js";

/** @typedef {"connecting" | "waiting" | "live" | "reconnecting" | "resting"} LinkState waiting: for a place on the server */
/** @typedef {import("./relight.js").Message} Message */

/** Before the attempts that follow the first, which comes at once: by half longer each time. */
const FIRST_PAUSE_MS = 400;
const PAUSE_GROWTH = 1.5;
const LONGEST_PAUSE_MS = 8000;
const STALL_TIMEOUT_MS = 6000;
/** A server that has not answered by then hangs. */
const ANSWER_TIMEOUT_MS = 15000;
/** No picture for so long: the server is asked over the socket, and where it does not answer in turn, the network has changed. */
const SUSPICIOUS_MS = 500;
const PONG_TIMEOUT_MS = 700;
const POLL_MS = 250;
/** While the session moves, the connection before goes on so long at most beside one that brings pictures. */
const OVERLAP_MS = 2500;
/** A socket that says nothing by then is tried anew: a network that came back is noticed sooner than by TCP's own pauses. */
const FIRST_WORD_MS = 2000;
/** While we wait for a place the server says nothing for minutes: it is asked whether it is still there. */
const WAITING_POLL_MS = 10000;
const WAITING_PONG_MS = 5000;
/** Close codes: for good, and to come back at once, for which the server keeps the choices. */
const LEAVING = 1000;
const RETURNING = 4000;

export class Link {
  /** @type {Channel | null} */
  #channel = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {MediaStreamTrack | null} */
  #sound = null;
  /** The connection before, while the server moves the session: its pictures go on until the next one has some. */
  #leaving = { channel: /** @type {Channel | null} */ (null), peer: /** @type {Peer | null} */ (null) };
  #attempts = 0;
  #retryTimer = 0;
  #wordTimer = 0;
  #watchTimer = 0;
  #overlapTimer = 0;
  #server;
  #network;
  #on;
  /** @type {RTCConfiguration} */
  #configuration = {};

  /**
   * @param {import("./server.js").Server} server
   * @param {import("./relight.js").Network} network the ways that media may take
   * @param {object} on
   * @param {(state: LinkState, message: string) => void} on.state
   * @param {(welcome: import("./relight.js").Welcome) => Promise<void>} on.welcome restores the choices; our picture waits for it
   * @param {(receiver: RTCRtpReceiver) => void} on.sound a receiver was made for the sound that will come back
   * @param {(track: MediaStreamTrack, receiver: RTCRtpReceiver) => void} on.track picture or sound that comes back
   * @param {(waiting: import("./relight.js").Waiting) => void} on.waiting our place in line, in the state "waiting"
   * @param {(message: Message) => void} on.message stats and notices
   * @param {(error: Error) => void} on.error
   */
  constructor(server, network, on) {
    this.#server = server;
    this.#network = network;
    this.#on = on;
    window.addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && !this.#channel && this.#retryNow());
  }

  /**
   * Sends a picture, and sound with it, from now on. Without a picture it disconnects, which frees the place on the server, until
   * there is one again.
   * @param {MediaStreamTrack | null} track @param {MediaStreamTrack | null} sound null: none goes to the server
   * @returns {Promise<void>}
   */
  async send(track, sound) {
    const disconnected = !this.#track;
    const fresh = Boolean(sound) !== Boolean(this.#sound); // the offer has another section
    this.#track = track;
    this.#sound = sound;
    if (track && (disconnected || fresh)) return this.open();
    if (!track) return this.#disconnect();
    await this.#peer?.send(track);
    await this.#peer?.sendSound(sound);
  }

  /**
   * @param {string} type @param {Record<string, unknown>} [fields]
   * @returns {Promise<Message>} rejects with Refused or Disconnected
   */
  request(type, fields) {
    return this.#channel ? this.#channel.request(type, fields) : Promise.reject(new Disconnected("not connected"));
  }

  #disconnect() {
    clearTimeout(this.#retryTimer);
    this.#discard(LEAVING);
    this.#attempts = 0;
    this.#on.state("resting", "");
  }

  /** Connects, in place of the connection there is. @returns {void} */
  open() {
    clearTimeout(this.#retryTimer);
    this.#discard(RETURNING);
    this.#on.state(this.#attempts ? "reconnecting" : "connecting", "");
    this.#join();
  }

  /** Begins a session in another process of the server, beside the one there is, which ends once there are pictures. */
  #move() {
    if (this.#leaving.channel) return;
    if (!this.#peer) return this.open(); // nothing is shown that could go on
    clearTimeout(this.#watchTimer);
    this.#leaving = { channel: this.#channel, peer: this.#peer };
    this.#channel = this.#peer = null;
    this.#join();
  }

  /** A picture of the present connection is about to be shown: the one before has done its part. @returns {void} */
  arrived() {
    this.#leave();
  }

  #leave() {
    clearTimeout(this.#overlapTimer);
    this.#leaving.peer?.close();
    this.#leaving.channel?.close(LEAVING);
    this.#leaving = { channel: null, peer: null };
  }

  #join() {
    /** @type {import("./relight.js").SocketLike} */
    let socket;
    try {
      socket = this.#server.open();
    } catch (error) {
      return this.#reconnect(String(error)); // such as a server without TLS, on a page with
    }
    /** @type {Channel} */
    const channel = new Channel(socket, {
      onMessage: (message) => {
        if (channel !== this.#channel) return;
        clearTimeout(this.#wordTimer);
        this.#dispatch(message);
      },
      onClose: (reason) => {
        if (channel === this.#channel) this.#reconnect(reason);
        else if (channel === this.#leaving.channel) {
          this.#leave(); // its pictures have ended before there were others
          if (!this.#peer) this.#reconnect(reason);
        }
      },
    });
    this.#channel = channel;
    const silent = () => this.#reconnect("The server does not answer.");
    this.#watchTimer = window.setTimeout(silent, ANSWER_TIMEOUT_MS);
    this.#wordTimer = window.setTimeout(silent, FIRST_WORD_MS * PAUSE_GROWTH ** Math.min(4, this.#attempts));
  }

  /** Disconnects for good. @returns {void} */
  close() {
    this.#track = this.#sound = null;
    this.#disconnect();
  }

  /** @param {Message} message */
  #dispatch(message) {
    if (message.type === "welcome") {
      const welcome = /** @type {any} */ (message);
      const channel = this.#channel;
      const connect = async () => {
        await this.#on.welcome(welcome);
        this.#configuration = iceConfiguration(welcome, this.#network);
        if (channel === this.#channel) await this.#connect();
      };
      this.#follow(connect());
    } else if (message.type === "waiting") {
      if (!this.#peer) this.#on.waiting(/** @type {any} */ (message));
    } else if (message.type === "place_free") {
      if (this.#peer) return;
      clearTimeout(this.#watchTimer);
      this.#on.state("connecting", "");
      this.#watchTimer = window.setTimeout(() => this.#reconnect("The server does not answer."), ANSWER_TIMEOUT_MS);
      this.#follow(this.#connect());
    } else if (message.type === "candidate") {
      this.#peer?.candidate(message.candidate).catch(() => {}); // of a network that this machine does not have
    } else if (message.type === "notice" && message.code === "moving") {
      this.#move();
    } else if (message.type === "notice" && message.code === "connection_ended") {
      this.#reconnect(message.message);
    } else {
      if (message.type === "stats") this.#peer?.limit(message.cap ?? null).catch(() => {}); // of a peer that was closed meanwhile
      this.#on.message(message);
    }
  }

  /** Tries anew where an attempt fails, unless another one is under way. @param {Promise<void>} connecting */
  #follow(connecting) {
    const channel = this.#channel;
    connecting.catch((error) => {
      if (channel !== this.#channel) return;
      if (error instanceof Refused) this.#on.error(error);
      if (!(error instanceof Disconnected)) this.#reconnect(error.message);
    });
  }

  async #connect() {
    const configuration = this.#configuration;
    const unreachable = whyUnreachable(configuration);
    if (unreachable) throw new Error(unreachable);
    const channel = /** @type {Channel} */ (this.#channel);
    /** @type {(value?: unknown) => void} */
    let markOffered = () => {};
    const offered = new Promise((resolve) => (markOffered = resolve));
    /** @type {Peer} */
    const peer = new Peer({
      configuration,
      sound: this.#sound,
      onSound: (receiver) => this.#on.sound(receiver),
      onTrack: (track, receiver) => peer === this.#peer && this.#on.track(track, receiver),
      onCandidate: async (candidate) => {
        await offered; // the server must know the offer before its candidates
        if (peer === this.#peer) channel.request("candidate", { candidate: candidate?.toJSON() ?? null }).catch(() => {});
      },
      onLost: (why) => peer === this.#peer && this.#reconnect(why),
    });
    this.#peer = peer;
    await peer.send(this.#track);
    const answer = channel.request("offer", { sdp: await peer.offer() });
    markOffered();
    const reply = await answer;
    if (peer !== this.#peer) return peer.close();
    if (reply.type === "waiting") return this.#wait(peer, /** @type {any} */ (reply));
    await peer.accept(reply.sdp);
    await peer.send(this.#track); // the track may have changed, and bitrates can be set only now
    clearTimeout(this.#watchTimer);
    this.#watch(peer);
  }

  /** Waits until the server has a place. @param {Peer} peer it did not take @param {import("./relight.js").Waiting} waiting */
  #wait(peer, waiting) {
    peer.close();
    this.#peer = null;
    this.#attempts = 0;
    clearTimeout(this.#watchTimer);
    this.#on.state("waiting", "");
    this.#on.waiting(waiting);
    const channel = this.#channel;
    const poll = async () => {
      const there = await this.#answers(WAITING_PONG_MS);
      if (channel !== this.#channel || this.#peer) return;
      if (!there) return this.#reconnect("The server does not answer.");
      this.#watchTimer = window.setTimeout(poll, WAITING_POLL_MS);
    };
    this.#watchTimer = window.setTimeout(poll, WAITING_POLL_MS);
  }

  /** Reconnects when no frame was decoded for a while, for whatever reason. @param {Peer} peer */
  #watch(peer) {
    let frames = -1;
    let since = performance.now();
    let asking = false;
    const ask = async () => {
      asking = true;
      if (!(await this.#answers()) && peer === this.#peer && performance.now() - since > SUSPICIOUS_MS)
        this.#reconnect("The network has changed, or is gone.");
      asking = false;
    };
    const poll = async () => {
      if (peer !== this.#peer) return;
      const report = await peer.report().catch(() => null);
      if (peer !== this.#peer) return;
      if (report) {
        // A hidden page may be given neither frames to send nor frames to show.
        if (report.frames !== frames || this.#track?.muted || document.hidden) since = performance.now();
        if (frames <= 0 && report.frames > 0) {
          this.#attempts = 0;
          if (this.#leaving.peer) this.#overlapTimer = window.setTimeout(() => this.#leave(), OVERLAP_MS);
          this.#on.state("live", "");
        }
        frames = report.frames;
        this.onReport?.(report);
      }
      const timeout_ms = frames > 0 ? STALL_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
      if (performance.now() - since > timeout_ms) return this.#reconnect("No picture arrives.");
      if (frames > 0 && !asking && performance.now() - since > SUSPICIOUS_MS) ask();
      this.#watchTimer = window.setTimeout(poll, frames > 0 ? POLL_MS : 150);
    };
    poll();
  }

  /** Asks the server over the socket whether it is there. @param {number} [patience_ms] @returns {Promise<boolean>} */
  async #answers(patience_ms = PONG_TIMEOUT_MS) {
    const late = new Promise((resolve) => window.setTimeout(resolve, patience_ms, false));
    const answer = this.request("ping", { t: 0 }).then(() => true, (error) => error instanceof Refused);
    return Promise.race([answer, late]);
  }

  /** @type {((report: import("./peer.js").NetworkReport) => void) | null} */
  onReport = null;

  /** @param {number} code */
  #discard(code) {
    this.#drop(code);
    this.#leave();
  }

  /** Ends the present attempt; what it is to replace goes on. @param {number} code */
  #drop(code) {
    clearTimeout(this.#watchTimer);
    clearTimeout(this.#wordTimer);
    const [channel, peer] = [this.#channel, this.#peer];
    this.#channel = this.#peer = null;
    peer?.close();
    channel?.close(code);
  }

  /** @param {string} why */
  #reconnect(why) {
    this.#drop(RETURNING);
    if (!this.#track) return this.#leave();
    // Random pauses keep a room of clients from all coming back at the same moment after a restart.
    const longest = this.#attempts ? FIRST_PAUSE_MS * PAUSE_GROWTH ** this.#attempts : FIRST_PAUSE_MS / 2;
    const pause = Math.min(LONGEST_PAUSE_MS, longest) * (this.#attempts ? 0.5 + Math.random() / 2 : Math.random());
    this.#attempts += 1;
    const moving = this.#leaving.channel !== null;
    if (!moving) this.#on.state("reconnecting", why);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = window.setTimeout(() => (this.#leaving.channel ? this.#join() : this.open()), pause);
  }

  /** Tries at once where there is no picture: an attempt that began on a network that is gone leads nowhere. */
  #retryNow() {
    if (this.#attempts && this.#track) this.open();
  }
}
