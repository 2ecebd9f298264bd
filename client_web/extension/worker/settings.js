// @ts-check
// The participant's choices. They live in the extension's own storage, which pages and content scripts cannot read; a portrait, and
// that it is shown, are kept in memory only and end with the browser.

/**
 * @typedef {object} Settings
 * @property {string} server address
 * @property {string} token sign-in token; empty: none
 * @property {boolean} microphone offer delayed microphones as well
 * @property {string[]} sites origins whose pages get the relit camera where they name none
 * @property {string} light name of a preset
 * @property {import("../../light_math.js").Adjust} adjust
 * @property {number} strength
 * @property {boolean} original the camera's own light is sent
 * @property {"me" | "avatar"} who
 * @property {{name: string, url: string} | null} avatar the portrait, as a data URL
 */

/** @type {Settings} */
export const DEFAULTS = {
  server: "http://localhost:8080/",
  token: "",
  microphone: true,
  sites: [],
  light: "rembrandt-left",
  adjust: {},
  strength: 1,
  original: false,
  who: "me",
  avatar: null,
};
const IN_MEMORY = /** @type {(keyof Settings)[]} */ (["who", "avatar"]);
const KEY = "settings";

/** @type {Promise<Settings> | null} */
let loading = null;

/** @returns {Promise<Settings>} */
async function read() {
  await chrome.storage.local.setAccessLevel({ accessLevel: "TRUSTED_CONTEXTS" });
  const [kept, held] = await Promise.all([chrome.storage.local.get(KEY), chrome.storage.session.get(KEY)]);
  return { ...DEFAULTS, ...kept[KEY], ...held[KEY] };
}

/** @returns {Promise<Settings>} */
export const settings = () => (loading ??= read());

/** @param {Partial<Settings>} patch @returns {Promise<Settings>} as they are now */
export async function change(patch) {
  const next = { ...(await settings()), ...patch };
  loading = Promise.resolve(next);
  const held = Object.fromEntries(IN_MEMORY.map((key) => [key, next[key]]));
  const kept = Object.fromEntries(Object.entries(next).filter(([key]) => !(key in held)));
  await Promise.all([chrome.storage.local.set({ [KEY]: kept }), chrome.storage.session.set({ [KEY]: held })]);
  return next;
}
