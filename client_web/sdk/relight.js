// @ts-check
// The SDK's only entry: relight(stream, options) → a MediaStream with the relit picture and the sound that matches it.

import { Relit } from "./relit.js";

/** @type {typeof import("./relight.js").relight} */
export const relight = async (stream, options) => new Relit(stream, options);
