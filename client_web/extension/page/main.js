// @ts-check
// Wraps the two entries by which a page finds and opens cameras. A call that names no relit device goes to the browser as it came.
// Proxies keep the methods' name, length and native look, and a wrong `this` or argument fails as it always did.

import { ask, connect } from "./bridge.js";
import { chooseUnasked, readConstraints } from "./constraints.js";
import { isShown, withRelit } from "./devices.js";
import { relight } from "./media.js";

/** @param {any} prototype @param {string} name @param {(method: Function, self: any, args: any[]) => any} apply */
function replace(prototype, name, apply) {
  const property = prototype && Object.getOwnPropertyDescriptor(prototype, name);
  if (property) Object.defineProperty(prototype, name, { ...property, value: new Proxy(property.value, { apply }) });
}

/** @param {any} constraints */
function read(constraints) {
  try {
    return readConstraints(constraints);
  } catch {
    return null; // a getter that throws: the browser meets it too, and answers in its own way
  }
}

/** @param {MediaDevices} self @param {any} constraints @param {import("./constraints.js").Choice} choice */
async function open(self, constraints, choice) {
  return relight(await getUserMedia.call(self, choice.real), choice, constraints);
}

/**
 * Relights what the browser opened by itself, on sites where the participant wants it so.
 * @param {any} constraints @param {MediaStream} stream
 */
async function openUnasked(constraints, stream) {
  const offer = await offered();
  const choice = offer && chooseUnasked(constraints, offer);
  return choice ? relight(stream, choice, constraints) : stream;
}

/** @returns {Promise<import("./devices.js").Offer | null>} null where the extension was removed or reloaded */
const offered = () => ask("offer").then(({ data }) => data, () => null);

/** @param {MediaDeviceInfo[]} devices @returns {Promise<MediaDeviceInfo[]>} */
async function list(devices) {
  if (!devices.some(isShown)) return devices;
  const offer = await offered();
  return offer ? withRelit(devices, offer) : devices;
}

const getUserMedia = globalThis.MediaDevices?.prototype.getUserMedia;
if (navigator.mediaDevices) {
  // A page that is not secure has none.
  replace(MediaDevices.prototype, "getUserMedia", (method, self, args) => {
    const choice = read(args[0]);
    if (choice) return open(self, args[0], choice);
    return Reflect.apply(method, self, args).then((/** @type {MediaStream} */ stream) => openUnasked(args[0], stream));
  });
  replace(MediaDevices.prototype, "enumerateDevices", (method, self, args) => Reflect.apply(method, self, args).then(list));
  for (const name of ["getUserMedia", "webkitGetUserMedia"]) // with callbacks
    replace(Navigator.prototype, name, (method, self, args) => {
      const [constraints, onStream, onError] = args;
      const choice = read(constraints);
      if (typeof onStream !== "function" || typeof onError !== "function") return Reflect.apply(method, self, args);
      if (choice) return void open(self.mediaDevices, constraints, choice).then(onStream, onError);
      const opened = (/** @type {MediaStream} */ stream) => openUnasked(constraints, stream).then(onStream, onError);
      return Reflect.apply(method, self, [constraints, opened, onError]);
    });
  connect(({ event }) => event === "devicechange" && navigator.mediaDevices.dispatchEvent(new Event("devicechange")));
}
