// @ts-check
// The browser's side of docs/protocol.md: the WebSocket and its messages, each matched with its answer.

/** @typedef {import("./relight.js").Message} Message */
/** @typedef {import("./relight.js").SocketLike} SocketLike */

/** The server refused a message or a file; `message` and `hint` are its own words. */
export class Refused extends Error {
  /** @param {{code?: string, message?: string, hint?: string}} error */
  constructor({ code = "error", message = "The server refused.", hint = "" }) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** The connection was lost before the answer came. Nothing needs to be reported: the Link reconnects. */
export class Disconnected extends Error {}

/** Words an error for who listens to troubles. @param {unknown} error @returns {import("./relight.js").Trouble} */
export function troubleOf(error) {
  const known = /** @type {{code?: string, message?: string, hint?: string}} */ (error ?? {});
  const code = typeof known.code === "string" ? known.code : "trouble"; // a DOMException has a number
  return { code, message: known.message || "Something went wrong", hint: known.hint ?? "" };
}

export class Channel {
  #socket;
  #lastId = 0;
  /** @type {Map<number, {resolve: (m: Message) => void, reject: (e: Error) => void}>} */
  #waiting = new Map();

  /**
   * @param {SocketLike} socket of its own
   * @param {{onMessage: (message: Message) => void, onClose: (reason: string) => void}} handlers
   *   `onMessage` gets every message that is not an answer (welcome, stats, notice, candidate)
   */
  constructor(socket, { onMessage, onClose }) {
    this.#socket = socket;
    this.#socket.addEventListener("message", ({ data }) => {
      /** @type {Message} */
      const message = JSON.parse(String(data));
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
    return this.#socket.readyState === 1 /* WebSocket.OPEN */;
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

  /** @param {number} code 1000: for good, the server forgets the session @returns {void} */
  close(code) {
    this.#socket.close(code);
  }
}
