// @ts-check
// The tracks that pages hold of a relit device. They answer as the device's own would: label, ids, capabilities and constraints;
// the last one that stops frees device and session. The browser's prototypes are wrapped when the first such track is made, not before.

import { readTrackConstraints } from "./constraints.js";
import { relitId, relitLabel } from "./names.js";

/** @typedef {import("./names.js").Kind} Kind */
/**
 * One relit device in use: the real track, the relit one, and the copies of it that the page holds.
 * @typedef {object} Feed
 * @property {Kind} kind
 * @property {number} session its number, for the extension's script
 * @property {MediaStreamTrack} real
 * @property {MediaStreamTrack} relit
 * @property {Set<MediaStreamTrack>} held
 * @property {boolean} ended nothing is held any more
 * @property {() => void} release called once, when it ends
 */

const WATCH_MS = 1000; // also finds tracks that were stopped past our wrapper
const SIZE_TIMEOUT_MS = 1500; // for the relit picture to arrive in a new size
const SIZE_POLL_MS = 50;

/** @type {WeakMap<MediaStreamTrack, {feed: Feed, constraints: any}>} */
const ours = new WeakMap();
/** The browser's own methods. */
const native = {
  clone: MediaStreamTrack.prototype.clone,
  stop: MediaStreamTrack.prototype.stop,
  getSettings: MediaStreamTrack.prototype.getSettings,
  getCapabilities: MediaStreamTrack.prototype.getCapabilities,
  applyConstraints: MediaStreamTrack.prototype.applyConstraints,
};
let wrapped = false;

/**
 * Makes a track of a relit device for the page.
 * @param {Feed} feed @param {any} constraints as the page gave them
 * @param {MediaTrackSettings} settings that the browser made of them @returns {Promise<MediaStreamTrack>}
 */
export async function handOut(feed, constraints, settings) {
  if (!wrapped) wrapTracks();
  const track = copy(feed, feed.relit, constraints);
  const { width, height } = native.getSettings.call(feed.real);
  if (feed.kind === "video" && (settings.width !== width || settings.height !== height)) await scaleDown(track, settings);
  return track;
}

/**
 * Scales a track's own picture down, of a device that is open with a larger one. Chromium 156 refuses `ideal` sizes for copies of a
 * written track, and every size until some pictures have passed.
 * @param {MediaStreamTrack} track @param {MediaTrackSettings} size
 */
async function scaleDown(track, { width, height }) {
  const size = { width: { max: width }, height: { max: height } };
  await waitUntil(() => native.applyConstraints.call(track, size).then(() => true, () => false));
  await waitUntil(() => native.getSettings.call(track).width === width);
}

/** @param {() => boolean | Promise<boolean>} condition given up after a while */
async function waitUntil(condition) {
  for (let waited = 0; waited < SIZE_TIMEOUT_MS && !(await condition()); waited += SIZE_POLL_MS)
    await new Promise((next) => setTimeout(next, SIZE_POLL_MS));
}

/**
 * Ends every track of a feed, as the browser does when a device is unplugged.
 * @param {Feed} feed @returns {void}
 */
export function end(feed) {
  const held = [...feed.held].filter((track) => track.readyState === "live");
  feed.held.clear();
  free(feed);
  for (const track of held) {
    native.stop.call(track);
    track.dispatchEvent(new Event("ended"));
  }
}

/** @param {Feed} feed @param {MediaStreamTrack} source @param {any} constraints @returns {MediaStreamTrack} */
function copy(feed, source, constraints) {
  const track = native.clone.call(source);
  ours.set(track, { feed, constraints });
  if (!feed.held.size) watch(feed);
  feed.held.add(track);
  return track;
}

/** @param {Feed} feed */
function watch(feed) {
  const timer = setInterval(() => {
    for (const track of feed.held) if (track.readyState === "ended") feed.held.delete(track);
    if (feed.held.size) return;
    clearInterval(timer);
    free(feed);
  }, WATCH_MS);
}

/** @param {Feed} feed */
function free(feed) {
  if (feed.ended) return;
  feed.ended = true;
  native.stop.call(feed.real);
  native.stop.call(feed.relit);
  feed.release();
}

/**
 * Replaces a method by one that treats our tracks in its own way. A Proxy keeps name, length and the native look of the method.
 * @param {any} prototype @param {string} name @param {(track: any, args: any[]) => any} ourWay
 * @param {(self: any) => boolean} [isOurs]
 */
function wrap(prototype, name, ourWay, isOurs = (self) => ours.has(self)) {
  const property = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(prototype, name));
  const slot = property.get ? "get" : "value";
  property[slot] = new Proxy(property[slot], {
    apply: (method, self, args) => (isOurs(self) ? ourWay(self, args) : Reflect.apply(method, self, args)),
  });
  Object.defineProperty(prototype, name, property);
}

/** @param {MediaStreamTrack} track @returns {{feed: Feed, constraints: any}} */
const entry = (track) => /** @type {{feed: Feed, constraints: any}} */ (ours.get(track));

/** @param {MediaStreamTrack} track @returns {{deviceId: string, groupId: string}} */
function idsOf(track) {
  const { deviceId = "", groupId = "" } = native.getSettings.call(entry(track).feed.real);
  return { deviceId: relitId(deviceId), groupId: relitId(groupId) };
}

/** @param {MediaStreamTrack} track @returns {MediaTrackSettings} */
function settingsOf(track) {
  const { feed } = entry(track);
  const real = native.getSettings.call(feed.real);
  if (feed.kind === "audio") return { ...real, ...idsOf(track) };
  const { width, height, aspectRatio, frameRate } = native.getSettings.call(track);
  const shown = width ? { width, height, aspectRatio, frameRate } : {}; // nothing is known before the first picture
  return { ...real, ...shown, ...idsOf(track) };
}

/** The device obeys, and the relit picture follows in its size. @param {MediaStreamTrack} track @param {any} constraints */
async function applyConstraints(track, constraints) {
  const { feed } = entry(track);
  await native.applyConstraints.call(feed.real, readTrackConstraints(constraints).real);
  entry(track).constraints = constraints ?? {};
  if (feed.kind === "audio") return;
  const { width, height } = native.getSettings.call(feed.real);
  await scaleDown(track, { width, height });
}

function wrapTracks() {
  wrapped = true;
  const track = MediaStreamTrack.prototype;
  wrap(track, "label", (self) => relitLabel(entry(self).feed.real.label));
  wrap(track, "getSettings", settingsOf);
  wrap(track, "getConstraints", (self) => structuredClone(entry(self).constraints));
  wrap(track, "getCapabilities", (self) => ({ ...native.getCapabilities.call(entry(self).feed.real), ...idsOf(self) }));
  wrap(track, "applyConstraints", (self, [constraints]) => applyConstraints(self, constraints));
  wrap(track, "clone", (self) => {
    if (self.readyState === "ended") return native.clone.call(self);
    return copy(entry(self).feed, self, entry(self).constraints);
  });
  wrap(track, "stop", (self) => {
    native.stop.call(self);
    const { feed } = entry(self);
    feed.held.delete(self);
    if (!feed.held.size) free(feed);
  });
  const holdsOurs = (/** @type {any} */ self) => self instanceof MediaStream && self.getTracks().some((each) => ours.has(each));
  wrap(
    MediaStream.prototype,
    "clone",
    (self) => new MediaStream(self.getTracks().map((/** @type {MediaStreamTrack} */ each) => each.clone())),
    holdsOurs,
  );
}
