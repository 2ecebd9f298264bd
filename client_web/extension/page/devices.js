// @ts-check
// Lists the relit devices beside the real ones: behind the last real one of their kind, so that no page's first choice changes.

import { relitId, relitLabel } from "./names.js";

/**
 * @typedef {object} Offer
 * @property {boolean} microphone delayed microphones are offered as well
 * @property {boolean} unasked this site gets the relit devices where it names none
 */

/** The browser's names for whatever device is the default; the device itself is listed as well. */
const ALIASES = new Set(["default", "communications"]);

/**
 * @param {MediaDeviceInfo[]} devices as the browser lists them @param {Offer} offer @returns {MediaDeviceInfo[]}
 */
export function withRelit(devices, offer) {
  const listed = [...devices];
  for (const [kind, on] of /** @type {const} */ ([["videoinput", true], ["audioinput", offer.microphone]])) {
    if (!on) continue;
    const last = listed.map((device) => device.kind).lastIndexOf(kind);
    listed.splice(last + 1, 0, ...listed.filter((device) => device.kind === kind && isShown(device)).map(relitDevice));
  }
  return listed;
}

/** Ids are empty until the page may use a device of the kind. @param {MediaDeviceInfo} device @returns {boolean} */
export const isShown = (device) => device.deviceId !== "" && !ALIASES.has(device.deviceId);

/** @param {MediaDeviceInfo} device @returns {MediaDeviceInfo} an InputDeviceInfo, as the browser's own are */
function relitDevice(device) {
  const ids = { deviceId: relitId(device.deviceId), groupId: relitId(device.groupId) };
  const fields = { ...ids, kind: device.kind, label: device.label && relitLabel(device.label) };
  const twin = Object.create(InputDeviceInfo.prototype);
  const define = (/** @type {string} */ name, /** @type {unknown} */ value) =>
    Object.defineProperty(twin, name, { value, configurable: true }); // not enumerable, as the browser's are not
  for (const [name, value] of Object.entries(fields)) define(name, value);
  define("toJSON", () => ({ ...fields }));
  define("getCapabilities", () => ({ .../** @type {InputDeviceInfo} */ (device).getCapabilities(), ...ids }));
  return twin;
}
