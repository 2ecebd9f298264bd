// @ts-check
// The names of the relit devices. An id says by itself that it is one of ours and which device it stands for, so that a page may
// ask for a camera it remembers before it is allowed to list devices.

/** @typedef {"video" | "audio"} Kind */

const PREFIX = "relight-";

/** @param {string} id deviceId or groupId of a real device @returns {string} of its relit twin; "" where the id is hidden */
export const relitId = (id) => (id ? PREFIX + id : "");

/** @param {string} id @returns {string | null} the real device's id; null: not one of ours */
export const realId = (id) => (id.startsWith(PREFIX) ? id.slice(PREFIX.length) : null);

/** @param {string} label of a real device @returns {string} of its relit twin */
export const relitLabel = (label) => `Relight (${label})`;
