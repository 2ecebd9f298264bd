// @ts-check
// docs/protocol.md from the page's side: the WebSocket, its messages, and the answer that belongs to each.

/** @typedef {{name: string, title: string, available: boolean, reason: string, needs_portrait: boolean}} EngineInfo */
/** @typedef {{delay_s: number, fps: number, keeps_up: boolean}} Prediction */
/** @typedef {{name: string, title: string, steps: number, omega: number, stride: number, predicted: Prediction | null}} Quality */
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

/** What the server refused, in its own words. */
export class Refused extends Error {
  /** @param {{code?: string, message?: string, hint?: string}} error */
  constructor({ code = "error", message = "The server refused.", hint = "" }) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** The connection went away before the answer came: nobody's fault, the reconnect deals with it. */
export class Gone extends Error {}

export class Channel {
  #socket;
  #next = 0;
  /** @type {Map<number, {resolve: (m: Message) => void, reject: (e: Error) => void}>} */
  #waiting = new Map();

  /**
   * @param {string} url
   * @param {{onMessage: (message: Message) => void, onClose: (reason: string) => void}} handlers
   *   `onMessage` gets what the server says by itself (welcome, stats, notice, candidate)
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
      for (const { reject } of this.#waiting.values()) reject(new Gone("connection closed"));
      this.#waiting.clear();
      onClose(reason);
    });
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /**
   * Send and wait for the answer. Rejects with Refused or Gone.
   * @param {string} type @param {Record<string, unknown>} [fields] @returns {Promise<Message>}
   */
  ask(type, fields = {}) {
    if (!this.open) return Promise.reject(new Gone("not connected"));
    this.#next += 1;
    const id = this.#next;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ type, id, ...fields }));
    return answer;
  }

  close() {
    this.#socket.close(1000);
  }
}
