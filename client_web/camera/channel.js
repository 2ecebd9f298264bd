// @ts-check
// The page's side of the control socket (docs/camera.md): JSON both ways, previews as JPEG; it comes back by itself.

/** @typedef {import("../shade.js").Lighting} Lighting */
/** @typedef {import("../light_math.js").Adjust} Adjust */
/**
 * @typedef {object} State
 * @property {"state"} type
 * @property {string} light @property {Adjust | null} adjust @property {Lighting} lighting
 * @property {number} strength @property {"auto" | "keep" | "dim" | "lit"} background
 * @property {boolean} mirror @property {boolean} before
 */
/**
 * @typedef {object} Status
 * @property {"status"} type
 * @property {"off" | "opening" | "live" | "away"} camera
 * @property {string} trouble @property {string} hint
 * @property {number} fps @property {{p50: number, p95: number}} delay_ms
 * @property {[number, number]} size @property {number} frames
 * @property {{name: string, message: string}} engine
 * @property {"ok" | "no_face" | "move_closer" | "turn_to_camera"} face
 */

const RETRY_MS = 1000;
const INTERVAL_MS = 50; // between two messages of a type: a drag sends its newest value

export class ControlChannel {
  #on;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<string, {timer: number, next: Record<string, unknown> | null}>} */
  #queues = new Map();

  /**
   * @param {object} on
   * @param {(state: State) => void} on.state
   * @param {(status: Status) => void} on.status
   * @param {(jpeg: Blob) => void} on.preview
   * @param {(message: string) => void} on.refused
   * @param {() => void} on.closed
   */
  constructor(on) {
    this.#on = on;
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(new URL("../control", location.href.replace(/^http/, "ws")));
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (data instanceof Blob) return this.#on.preview(data);
      const message = JSON.parse(data);
      if (message.type === "state") this.#on.state(message);
      else if (message.type === "status") this.#on.status(message);
      else if (message.type === "error") this.#on.refused(message.message);
    });
    socket.addEventListener("close", () => {
      this.#on.closed();
      setTimeout(() => this.#connect(), RETRY_MS);
    });
  }

  /** Sends a message, of each type at most one every 50 ms and always the last. @param {string} type @param {Record<string, unknown>} fields */
  send(type, fields) {
    const queue = this.#queues.get(type) ?? { timer: 0, next: null };
    this.#queues.set(type, queue);
    queue.next = fields;
    if (!queue.timer) this.#flush(type, queue);
  }

  /** @param {string} type @param {{timer: number, next: Record<string, unknown> | null}} queue */
  #flush(type, queue) {
    queue.timer = 0;
    if (!queue.next) return;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, ...queue.next }));
    queue.next = null;
    queue.timer = window.setTimeout(() => this.#flush(type, queue), INTERVAL_MS);
  }
}
