// @ts-check
// Choices → messages: sends what changed, at most 20 times a second and always the last value; sends all after a reconnect.

import { Gone } from "./protocol.js";

/** @typedef {import("./store.js").Choices} Choices */

const PACE_MS = 50;

/**
 * @param {(type: string, fields: Record<string, unknown>) => Promise<import("./protocol.js").Message>} ask
 * @param {(error: Error, type: string, fields: Record<string, unknown>) => void} onRefused
 * @param {(type: string, ack: import("./protocol.js").Message) => void} onAck only for the newest message of a type
 */
export function createSync(ask, onRefused, onAck) {
  /** @type {Map<string, {sent: string, at: number, timer: number, next: Record<string, unknown>}>} */
  const lanes = new Map();

  /** @param {string} type */
  function flush(type) {
    const lane = lanes.get(type);
    if (!lane) return;
    lane.timer = 0;
    const fields = lane.next;
    const text = JSON.stringify(fields);
    if (text === lane.sent) return;
    lane.sent = text;
    lane.at = performance.now();
    ask(type, fields).then(
      (ack) => lane.sent === text && onAck(type, ack),
      (error) => {
        if (lane.sent === text) lane.sent = "";
        if (!(error instanceof Gone)) onRefused(error, type, fields);
      },
    );
  }

  return {
    /** @param {string} type @param {Record<string, unknown>} fields the whole message; repeats are not sent */
    tell(type, fields) {
      const lane = lanes.get(type) ?? { sent: "", at: -PACE_MS, timer: 0, next: fields };
      lane.next = fields;
      lanes.set(type, lane);
      if (lane.timer) return;
      lane.timer = window.setTimeout(flush, Math.max(0, lane.at + PACE_MS - performance.now()), type);
    },
    /** A new server knows nothing: say everything again. */
    restore() {
      for (const [type, lane] of lanes) {
        lane.sent = "";
        flush(type);
      }
    },
  };
}
