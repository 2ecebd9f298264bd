// @ts-check
// The portrait an avatar animates: held in this tab's memory and nowhere else, and sent to each new session again.

import { photoOf } from "./photo.js";
import { Refused } from "./protocol.js";

/** @typedef {import("./photo.js").Photo} Photo */
/** @typedef {[number, number, number, number]} Box x, y, w, h in px */
/** @typedef {{name: string, photo: Photo, face: Box | null}} Held */
/** @typedef {"none" | "reading" | "waiting" | "ready" | "refused"} PortraitState waiting: for a connection */

const BUSY_TRIES = 4;
const BUSY_PAUSE_MS = 700;

/** @param {Photo} photo @param {string} name @param {string} session @returns {Promise<Box>} throws Refused */
async function upload({ jpeg }, name, session) {
  for (let tries = 1; ; tries += 1) {
    const body = new FormData();
    body.append("file", jpeg, `${name.replace(/\.[^.]+$/, "")}.jpg`);
    body.append("session", session);
    const response = await fetch("api/portrait", { method: "POST", body }).catch(() => null);
    if (!response)
      throw new Refused({ code: "offline", message: "The server cannot be reached", hint: "Try again once the picture is live." });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer.face;
    if (answer.code !== "busy" || tries === BUSY_TRIES)
      throw new Refused({ code: "upload", message: `The server refused the picture (${response.status})`, ...answer });
    await new Promise((next) => setTimeout(next, tries * BUSY_PAUSE_MS)); // it reads someone else's picture
  }
}

export class Portrait {
  /** @type {Held | null} */
  held = null;
  /** @type {PortraitState} */
  state = "none";
  /** What was wrong with the last picture; the one before it stays. @type {Refused | null} */
  error = null;
  #session = "";
  #sentTo = "";
  #turn = 0;
  /** Ends with the newest picture's fate. @type {Promise<boolean> | null} */
  #reading = null;
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Whether the present session has it. */
  get ready() {
    return this.held !== null && this.#sentTo !== "" && this.#sentTo === this.#session;
  }

  /** Whoever connects anew is a stranger to the server; "" while there is no connection. @param {string} session */
  session(session) {
    this.#session = session;
    if (this.held && !this.ready && this.state === "ready") this.state = "waiting";
  }

  /** @param {Blob} file @param {string} name @returns {Promise<boolean>} whether it is the portrait now */
  async take(file, name) {
    return this.#try(async () => ({ name, photo: await photoOf(file, name), face: null }));
  }

  /** @param {Photo} photo @param {string} name @returns {Promise<boolean>} */
  async keep(photo, name) {
    return this.#try(async () => ({ name, photo, face: null }));
  }

  /** The present session gets it, where it has not; one that is being read is waited for. Never throws: see `error`. */
  async send() {
    await this.#reading;
    const held = this.held;
    if (held && !this.ready && this.#session) await this.#try(async () => held);
  }

  remove() {
    this.#turn += 1;
    this.held = this.error = null;
    this.#sentTo = "";
    this.#become("none");
  }

  /** Another picture is on its way: what was wrong with the last one is forgotten. */
  forgive() {
    this.error = null;
    this.#onChange();
  }

  /** Words for a picture that never came to be one. @param {unknown} error */
  refuse(error) {
    this.error = error instanceof Refused ? error : new Refused({ message: String(error) });
    this.#onChange();
  }

  /** @param {() => Promise<Held>} make @returns {Promise<boolean>} */
  #try(make) {
    this.#reading = this.#read(make);
    return this.#reading;
  }

  /** @param {() => Promise<Held>} make @returns {Promise<boolean>} */
  async #read(make) {
    this.#turn += 1;
    const turn = this.#turn;
    this.error = null;
    this.#become("reading");
    let session = "";
    try {
      const next = await make();
      // A connection lost meanwhile is no reason to refuse a picture: the next one gets it.
      while ((session = this.#session)) {
        try {
          next.face = await upload(next.photo, next.name, session);
          break;
        } catch (error) {
          if (session === this.#session) throw error;
        }
      }
      if (turn !== this.#turn) return false;
      this.held = next;
      this.#sentTo = session;
    } catch (error) {
      if (turn !== this.#turn) return false;
      this.error = error instanceof Refused ? error : new Refused({ message: String(error) });
      if (!(error instanceof Refused)) console.error(error);
      this.#become(!this.held ? "none" : this.ready ? "ready" : "refused");
      return false;
    }
    this.#become(this.ready ? "ready" : "waiting");
    return true;
  }

  /** @param {PortraitState} state */
  #become(state) {
    this.state = state;
    this.#onChange();
  }
}
