// @ts-check
// Writes delays in milliseconds, or in seconds where an avatar takes that long.

/**
 * A delay as number and unit.
 * @param {number} ms @param {boolean} [slow] true: in seconds even below one, so that the unit does not flicker
 * @returns {[string, "ms" | "s"]}
 */
export const delayParts = (ms, slow = false) =>
  slow || ms >= 1000 ? [(ms / 1000).toFixed(ms < 9950 ? 2 : 1), "s"] : [String(Math.round(ms)), "ms"];

/** A delay as text. @param {number} ms @param {boolean} [slow] as for `delayParts` @returns {string} */
export const delayText = (ms, slow) => delayParts(ms, slow).join(" ");
