// @ts-check
// The SDK's only entry: relight(stream, options) → a MediaStream with the relit picture and the sound that matches it.

import { Relit } from "./relit.js";

/** @type {typeof import("./relight.js").relight} */
export const relight = async (stream, options) => {
  const relit = new Relit(stream, options);
  await relit.seen; // the first picture is the portrait already, not a dark card
  return relit;
};
