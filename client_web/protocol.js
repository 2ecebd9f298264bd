// @ts-check
// The page's side of docs/protocol.md: the WebSocket and its messages, each matched with its answer.

/**
 * @typedef {object} EngineInfo
 * @property {string} name
 * @property {string} title
 * @property {boolean} available
 * @property {string} reason why it is not available; else empty
 * @property {boolean} shows_avatar in place of the person
 * @property {boolean} has_qualities it has the presets of GET api/avatar and obeys `set_avatar`
 */
/** @typedef {{delay_s: number, fps: number, keeps_up: boolean}} Prediction */
/** @typedef {{name: string, title: string, steps: number, omega: number, stride: number, predicted: Prediction | null}} Quality */
/**
 * The answer to GET api/avatar.
 * @typedef {object} AvatarOptions
 * @property {Quality[]} qualities
 * @property {string} default name of the quality of a session that asked for none
 * @property {string} backend what the networks run on; may be empty
 * @property {boolean} [staggered] true where the weights were trained for the staggered mode
 */
/** @typedef {{session: string, version: string, engines: EngineInfo[], engine: string, ice_servers: RTCIceServer[]}} Welcome */
/** @typedef {{p50_ms: number, p95_ms: number, p99_ms: number}} StageTimes */
/**
 * @typedef {object} Stats
 * @property {number} fps_in @property {number} fps_out @property {number} drops
 * @property {number} width @property {number} height
 * @property {{p50: number, p95: number}} latency_ms
 * @property {Record<string, StageTimes>} stages
 * @property {"ok" | "no_face" | "move_closer" | "turn_to_camera"} face
 * @property {{name: string, state: "warming" | "ok" | "behind" | "failed" | "paused", message: string, showing?: string}} engine
 */
/** @typedef {{type: string, id?: string | number, of?: string, [field: string]: any}} Message */

/** The server refused a message or a file; `message` and `hint` are its own words. */
export class Refused extends Error {
  /** @param {{code?: string, message?: string, hint?: string}} error */
  constructor({ code = "error", message = "The server refused.", hint = "" }) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** The connection was lost before the answer came. Nothing needs to be reported: the page reconnects. */
export class Disconnected extends Error {}

export class Channel {
  #socket;
  #lastId = 0;
  /** @type {Map<number, {resolve: (m: Message) => void, reject: (e: Error) => void}>} */
  #waiting = new Map();

  /**
   * @param {string} url
   * @param {{onMessage: (message: Message) => void, onClose: (reason: string) => void}} handlers
   *   `onMessage` gets every message that is not an answer (welcome, stats, notice, candidate)
   */
  constructor(url, { onMessage, onClose }) {
    this.#socket = new WebSocket(url);
    this.#socket.addEventListener("message", ({ data }) => {
      /** @type {Message} */
      const message = JSON.parse(data);
      const waiting = typeof message.id === "number" ? this.#waiting.get(message.id) : undefined;
      if (!waiting) return onMessage(message);
      this.#waiting.delete(/** @type {number} */ (message.id));
      if (message.type === "error") waiting.reject(new Refused(/** @type {any} */ (message)));
      else waiting.resolve(message);
    });
    this.#socket.addEventListener("close", ({ reason }) => {
      for (const { reject } of this.#waiting.values()) reject(new Disconnected("connection closed"));
      this.#waiting.clear();
      onClose(reason);
    });
  }

  /** @returns {boolean} */
  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /**
   * Sends a message and waits for its answer.
   * @param {string} type @param {Record<string, unknown>} [fields] @returns {Promise<Message>} rejects with Refused or Disconnected
   */
  request(type, fields = {}) {
    if (!this.open) return Promise.reject(new Disconnected("not connected"));
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ type, id, ...fields }));
    return answer;
  }

  /** @returns {void} */
  close() {
    this.#socket.close(1000);
  }
}
