// @ts-check
// Talks with the extension's own script in this page. Both scripts see the same document: requests and answers are text in events,
// and tracks cross in MediaStreamTrackEvents. Nothing secret passes here, because the page can listen.

/** @typedef {{resolve: (answer: {data: any, tracks: MediaStreamTrack[]}) => void, reject: (error: Error) => void}} Waiting */

const ASK = "relight:ask";
const ANSWER = "relight:answer";
const TELL = "relight:tell";
const TRACK_DOWN = "relight:track-to-extension";
const TRACK_UP = "relight:track-to-page";

let lastId = 0;
/** @type {Map<number, Waiting>} */
const waiting = new Map();
/** Tracks that came for an answer which is under way. @type {MediaStreamTrack[]} */
let arrived = [];
let listening = false;

/** Called with what the extension says unasked. @type {(message: any) => void} */
let onTell = () => {};

/** @param {(message: any) => void} handler @returns {void} */
export function listen(handler) {
  onTell = handler;
  if (listening) return;
  listening = true;
  document.addEventListener(TRACK_UP, (event) => arrived.push(/** @type {MediaStreamTrackEvent} */ (event).track));
  document.addEventListener(TELL, (event) => onTell(JSON.parse(/** @type {CustomEvent} */ (event).detail)));
  document.addEventListener(ANSWER, (event) => {
    const { id, data, error } = JSON.parse(/** @type {CustomEvent} */ (event).detail);
    const tracks = arrived;
    arrived = [];
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error) reject?.(new Error(error));
    else resolve?.({ data, tracks });
  });
}

/**
 * Asks the extension's script; the answer is an error where the extension was removed or reloaded meanwhile.
 * @param {string} op @param {Record<string, unknown>} [fields] @param {MediaStreamTrack[]} [tracks]
 * @returns {Promise<{data: any, tracks: MediaStreamTrack[]}>}
 */
export function ask(op, fields = {}, tracks = []) {
  listen(onTell);
  const id = (lastId += 1);
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  for (const track of tracks) document.dispatchEvent(new MediaStreamTrackEvent(TRACK_DOWN, { track }));
  document.dispatchEvent(new CustomEvent(ASK, { detail: JSON.stringify({ id, op, ...fields }) }));
  return answer;
}
