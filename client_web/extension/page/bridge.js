// @ts-check
// Talks with the extension's own script in this page. Both scripts see the same document: before any script of the page runs they
// agree on an element that stands nowhere in it. Requests and answers are text in its events, and tracks cross in
// MediaStreamTrackEvents. The document itself would not do: document.open() takes every listener off it.

/** @typedef {{resolve: (answer: {data: any, tracks: MediaStreamTrack[]}) => void, reject: (error: Error) => void}} Waiting */

const line = document.createElement("i");
let lastId = 0;
/** @type {Map<number, Waiting>} */
const waiting = new Map();
/** Tracks that came for an answer which is under way. @type {MediaStreamTrack[]} */
let arrived = [];

/**
 * Opens the line.
 * @param {(message: any) => void} onTell called with what the extension says unasked @returns {void}
 */
export function connect(onTell) {
  line.addEventListener("track-to-page", (event) => arrived.push(/** @type {MediaStreamTrackEvent} */ (event).track));
  line.addEventListener("tell", (event) => onTell(JSON.parse(/** @type {CustomEvent} */ (event).detail)));
  line.addEventListener("answer", (event) => {
    const { id, data, error } = JSON.parse(/** @type {CustomEvent} */ (event).detail);
    const tracks = arrived;
    arrived = [];
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error) reject?.(new Error(error));
    else resolve?.({ data, tracks });
  });
  // Whichever of the two scripts runs second finds the other one listening.
  const offer = () => document.dispatchEvent(new MouseEvent("relight:line", { relatedTarget: line }));
  document.addEventListener("relight:ready", offer, { once: true });
  line.addEventListener("taken", () => document.removeEventListener("relight:ready", offer), { once: true });
  offer();
}

/**
 * Asks the extension's script; the answer is an error where the extension was removed or reloaded meanwhile.
 * @param {string} op @param {Record<string, unknown>} [fields] @param {MediaStreamTrack[]} [tracks]
 * @returns {Promise<{data: any, tracks: MediaStreamTrack[]}>}
 */
export function ask(op, fields = {}, tracks = []) {
  const id = (lastId += 1);
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  for (const track of tracks) line.dispatchEvent(new MediaStreamTrackEvent("track-to-extension", { track }));
  line.dispatchEvent(new CustomEvent("ask", { detail: JSON.stringify({ id, op, ...fields }) }));
  return answer;
}
