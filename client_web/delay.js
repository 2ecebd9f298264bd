// @ts-check
// Delays in words: milliseconds while they are few, seconds where an avatar takes that long.

/** @param {number} ms @param {boolean} [slow] seconds in any case, so that the unit does not flicker @returns {[string, "ms" | "s"]} */
export const delayParts = (ms, slow = false) =>
  slow || ms >= 1000 ? [(ms / 1000).toFixed(ms < 9950 ? 2 : 1), "s"] : [String(Math.round(ms)), "ms"];

/** @param {number} ms @param {boolean} [slow] */
export const delayText = (ms, slow) => delayParts(ms, slow).join(" ");
