// @ts-check
// Sends choices to the server: only what changed, at most 20 times a second, always the last value, and all after a reconnect.

import { Disconnected } from "./protocol.js";

const INTERVAL_MS = 50;

/**
 * Makes the sender of the choices; each type of message has a queue of one.
 * @param {(type: string, fields: Record<string, unknown>) => Promise<import("./relight.js").Message>} request
 * @param {(error: Error, type: string, fields: Record<string, unknown>) => void} onRefused
 * @param {(type: string, ack: import("./relight.js").Message) => void} onAck only for the newest message of a type
 * @returns {{send: (type: string, fields: Record<string, unknown>) => void, restore: () => void}}
 */
export function createSync(request, onRefused, onAck) {
  /** @type {Map<string, {sent: string, at: number, timer: number, next: Record<string, unknown>}>} */
  const queues = new Map();

  /** @param {string} type */
  function flush(type) {
    const queue = queues.get(type);
    if (!queue) return;
    queue.timer = 0;
    const fields = queue.next;
    const text = JSON.stringify(fields);
    if (text === queue.sent) return;
    queue.sent = text;
    queue.at = performance.now();
    request(type, fields).then(
      (ack) => queue.sent === text && onAck(type, ack),
      (error) => {
        if (queue.sent === text) queue.sent = "";
        if (!(error instanceof Disconnected)) onRefused(error, type, fields);
      },
    );
  }

  return {
    /** @param {string} type @param {Record<string, unknown>} fields the whole message; repeats are not sent */
    send(type, fields) {
      const queue = queues.get(type) ?? { sent: "", at: -INTERVAL_MS, timer: 0, next: fields };
      queue.next = fields;
      queues.set(type, queue);
      if (queue.timer) return;
      queue.timer = window.setTimeout(flush, Math.max(0, queue.at + INTERVAL_MS - performance.now()), type);
    },
    /** Sends everything again, to a new session. */
    restore() {
      for (const [type, queue] of queues) {
        queue.sent = "";
        flush(type);
      }
    },
  };
}
