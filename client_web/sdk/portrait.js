// @ts-check
// The portrait an avatar animates. It is held in this tab's memory and nowhere else, and is sent to each new session again.

import { photoOf } from "./photo.js";
import { Refused } from "./protocol.js";

/** @typedef {import("./photo.js").Photo} Photo */
/** @typedef {import("./server.js").Server} Server */
/** @typedef {[number, number, number, number]} Box x, y, w, h in px */
/** @typedef {{name: string, photo: Photo, face: Box | null}} Held */
/** @typedef {"none" | "reading" | "waiting" | "ready" | "refused"} PortraitState "waiting" is for a connection */

/** The server reads another participant's picture, or the process that had the session has ended. */
const AGAIN = ["busy", "not_ready"];
const BUSY_ATTEMPTS = 4;
const BUSY_PAUSE_MS = 700;

/**
 * Sends a photo to a session, again while the server is busy.
 * @param {Server} server @param {Photo} photo @param {string} name @param {string} session
 * @returns {Promise<Box>} the face; rejects with Refused
 */
async function upload(server, { jpeg }, name, session) {
  for (let attempt = 1; ; attempt += 1) {
    const body = new FormData();
    body.append("file", jpeg, `${name.replace(/\.[^.]+$/, "")}.jpg`);
    body.append("session", session);
    const response = await server.fetch("api/portrait", { method: "POST", body }).catch(() => null);
    if (!response)
      throw new Refused({ code: "offline", message: "The server cannot be reached", hint: "Try again once the picture is live." });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer.face;
    if (!AGAIN.includes(answer.code) || attempt === BUSY_ATTEMPTS)
      throw new Refused({ code: "upload", message: `The server refused the picture (${response.status})`, ...answer });
    await new Promise((next) => setTimeout(next, attempt * BUSY_PAUSE_MS));
  }
}

export class Portrait {
  /** @type {Held | null} */
  held = null;
  /** @type {PortraitState} */
  state = "none";
  /** The error of the last picture; the portrait before it stays. @type {Refused | null} */
  error = null;
  #session = "";
  #sentTo = "";
  #attempt = 0;
  /** Resolves when the newest picture was accepted or refused. @type {Promise<boolean> | null} */
  #reading = null;
  #server;
  #onChange;

  /** @param {Server} server @param {() => void} onChange */
  constructor(server, onChange) {
    this.#server = server;
    this.#onChange = onChange;
  }

  /** True where the present session has the portrait. @returns {boolean} */
  get ready() {
    return this.held !== null && this.#sentTo !== "" && this.#sentTo === this.#session;
  }

  /**
   * Names the present session, which has no portrait yet.
   * @param {string} session "" while there is no connection @returns {void}
   */
  setSession(session) {
    this.#session = session;
    if (this.held && !this.ready && this.state === "ready") this.state = "waiting";
  }

  /**
   * Says that a session went on in the present one, with the portrait that it had.
   * @param {string} lost its name @returns {void}
   */
  resumed(lost) {
    if (this.#sentTo === lost) this.#sentTo = this.#session; // else the portrait was changed meanwhile
    if (this.ready) this.#setState("ready");
  }

  /**
   * Makes a file the portrait.
   * @param {Blob} file @param {string} name @returns {Promise<boolean>} true where it is the portrait now
   */
  async useFile(file, name) {
    return this.#start(async () => ({ name, photo: await photoOf(file, name), face: null }));
  }

  /**
   * Makes a photo the portrait.
   * @param {Photo} photo @param {string} name @returns {Promise<boolean>} true where it is the portrait now
   */
  async usePhoto(photo, name) {
    return this.#start(async () => ({ name, photo, face: null }));
  }

  /**
   * Sends the portrait to the present session unless it has it, after a picture that is being read. Never rejects: see `error`.
   * @returns {Promise<void>}
   */
  async send() {
    await this.#reading;
    const held = this.held;
    if (held && !this.ready && this.#session) await this.#start(async () => held);
  }

  /** Forgets the portrait. @returns {void} */
  remove() {
    this.#attempt += 1;
    this.held = this.error = null;
    this.#sentTo = "";
    this.#setState("none");
  }

  /** Forgets the error of the last picture, because another one is about to come. @returns {void} */
  clearError() {
    this.error = null;
    this.#onChange();
  }

  /** Reports that a picture could not be made at all. @param {unknown} error @returns {void} */
  setError(error) {
    this.error = error instanceof Refused ? error : new Refused({ message: String(error) });
    this.#onChange();
  }

  /** Reads a new portrait; `send` waits for it. @param {() => Promise<Held>} make @returns {Promise<boolean>} */
  #start(make) {
    this.#reading = this.#read(make);
    return this.#reading;
  }

  /** @param {() => Promise<Held>} make @returns {Promise<boolean>} */
  async #read(make) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.error = null;
    this.#setState("reading");
    let session = "";
    try {
      const next = await make();
      // Where the connection was lost meanwhile, the picture is sent to the next session.
      while ((session = this.#session)) {
        try {
          next.face = await upload(this.#server, next.photo, next.name, session);
          break;
        } catch (error) {
          if (session === this.#session) throw error;
        }
      }
      if (attempt !== this.#attempt) return false;
      this.held = next;
      this.#sentTo = session;
    } catch (error) {
      if (attempt !== this.#attempt) return false;
      this.error = error instanceof Refused ? error : new Refused({ message: String(error) });
      if (!(error instanceof Refused)) console.error(error);
      this.#setState(!this.held ? "none" : this.ready ? "ready" : "refused");
      return false;
    }
    this.#setState(this.ready ? "ready" : "waiting");
    return true;
  }

  /** @param {PortraitState} state */
  #setState(state) {
    this.state = state;
    this.#onChange();
  }
}
