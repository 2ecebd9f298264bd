// @ts-check
// A session that was lost goes on in a new one, where the server still has it: choices, portrait, viewing name and viewers.

import { Refused } from "./protocol.js";

/** @typedef {{view: string, engine: string, avatar: boolean}} Resumed */

/**
 * Asks the server to go on with a lost session.
 * @param {(type: string, fields: Record<string, unknown>) => Promise<import("./relight.js").Message>} request
 * @param {string} lost the session's name, "": there was none
 * @returns {Promise<Resumed | null>} null where the server does not have it any more, or cannot do so; rejects with Disconnected
 */
export async function resume(request, lost) {
  if (!lost) return null;
  try {
    return /** @type {any} */ (await request("resume", { session: lost }));
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}
