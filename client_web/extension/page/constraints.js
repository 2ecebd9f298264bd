// @ts-check
// Reads constraints that name a relit device, and turns them into the same constraints for the device behind it. Every form that
// the browser takes is known: a string, a list, `exact`, `ideal`, `advanced` sets, and Chrome's older `mandatory` and `optional`.

import { realId } from "./names.js";

/** @typedef {import("./names.js").Kind} Kind */
/** Real device or group id → true where the page named its relit twin first. @typedef {Map<string, boolean>} Named */
/**
 * @typedef {object} Choice
 * @property {any} real the constraints to give to the browser
 * @property {Partial<Record<Kind, Named>>} named
 */

/** @type {Named} */
const ANY = new Map();
const ID_KEYS = new Set(["deviceId", "groupId", "sourceId"]);

/**
 * Reads the argument of getUserMedia.
 * @param {any} constraints @returns {Choice | null} null: it names no relit device, the browser gets it as it is
 */
export function readConstraints(constraints) {
  if (constraints === null || typeof constraints !== "object") return null;
  /** @type {Choice} */
  const choice = { real: { ...constraints }, named: {} };
  for (const kind of /** @type {Kind[]} */ (["video", "audio"])) {
    const track = readTrackConstraints(constraints[kind]);
    choice.real[kind] = track.real;
    if (track.ours) choice.named[kind] = track.named;
  }
  return choice.named.video || choice.named.audio ? choice : null;
}

/**
 * Chooses the relit devices for a page that may not know of them, where it leaves the device to the browser.
 * @param {any} constraints @param {import("./devices.js").Offer} offer @returns {Choice | null}
 */
export function chooseUnasked(constraints, offer) {
  if (!offer.unasked || constraints === null || typeof constraints !== "object") return null;
  /** @type {Choice} */
  const choice = { real: constraints, named: {} };
  for (const kind of /** @type {Kind[]} */ (["video", "audio"]))
    if ((kind === "video" || offer.microphone) && !readTrackConstraints(constraints[kind]).named.size) choice.named[kind] = ANY;
  return choice;
}

/**
 * Reads the constraints of one track.
 * @param {any} constraints @returns {{real: any, named: Named, ours: boolean}} ours: a relit device is named
 */
export function readTrackConstraints(constraints) {
  /** @type {Named} */
  const named = new Map();
  const real = readSet(constraints, named);
  return { real, named, ours: [...named.values()].includes(true) };
}

/** @param {any} set @param {Named} named @returns {any} */
function readSet(set, named) {
  if (set === null || typeof set !== "object") return set;
  const real = { ...set };
  for (const key of Object.keys(real)) {
    if (ID_KEYS.has(key)) real[key] = readIds(real[key], named);
    else if (key === "mandatory") real[key] = readSet(real[key], named);
    else if ((key === "advanced" || key === "optional") && Array.isArray(real[key]))
      real[key] = real[key].map((each) => readSet(each, named));
  }
  return real;
}

/** @param {any} value @param {Named} named @returns {any} */
function readIds(value, named) {
  if (typeof value === "string") {
    const id = realId(value);
    if (!named.has(id ?? value)) named.set(id ?? value, id !== null);
    return id ?? value;
  }
  if (Array.isArray(value)) return value.map((each) => readIds(each, named));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, readIds(each, named)]));
}

/**
 * Says whether the page wanted a track relit, of the device that the browser chose.
 * @param {Named | undefined} named @param {MediaTrackSettings} settings of the real track @returns {boolean}
 */
export function wantsRelit(named, settings) {
  if (!named) return false;
  if (named === ANY) return !settings.displaySurface; // an older way to open a screen
  return named.get(settings.deviceId ?? "") ?? named.get(settings.groupId ?? "") ?? false;
}
