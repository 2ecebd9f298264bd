// @ts-check
// Saves the relit picture, as it is seen now, as a PNG among the downloads.

import { fileName, save } from "./download.js";

const RELEASE_MS = 60_000;

/**
 * Saves the video's present picture, in its own size.
 * @param {HTMLVideoElement} video @returns {Promise<{name: string, width: number, height: number}>} rejects where there is no picture
 */
export async function saveSnapshot(video) {
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  if (width) canvas.getContext("2d")?.drawImage(video, 0, 0);
  /** @type {Blob | null} */
  const blob = width ? await new Promise((resolve) => canvas.toBlob(resolve, "image/png")) : null;
  if (!blob) {
    const hint = "Wait until the picture is live, then try again.";
    throw Object.assign(new Error("There is no relit picture yet"), { code: "no_picture", hint });
  }
  const name = fileName("png");
  window.setTimeout(save(blob, name), RELEASE_MS);
  return { name, width, height };
}
