// @ts-check
// Reads a portrait that the participant chose: upright, without the file's metadata, small enough for the browser's memory storage.

import { photoOf } from "../../sdk/photo.js";

/** @typedef {{name: string, url: string}} PortraitFile */

/**
 * @param {File} file @returns {Promise<PortraitFile>} as a data URL; rejects with Refused for a file that is no picture
 */
export async function readPortrait(file) {
  const { jpeg } = await photoOf(file, file.name);
  const reader = new FileReader();
  const done = new Promise((resolve) => reader.addEventListener("load", resolve));
  reader.readAsDataURL(jpeg);
  await done;
  return { name: file.name, url: String(reader.result) };
}
