// @ts-check
// Turns a picture of any origin into the JPEG that is uploaded: upright, at most 1536 px long, without the file's metadata.

import { Refused } from "./protocol.js";

const LONGEST_PX = 1536; // the server uses 1280; more of a phone's 12 megapixels would not be seen
const JPEG_QUALITY = 0.92;

/** @typedef {{jpeg: Blob, canvas: HTMLCanvasElement}} Photo */

/**
 * Reads a picture file.
 * @param {Blob} file @param {string} name @returns {Promise<Photo>} rejects with Refused where this browser cannot read it
 */
export async function photoOf(file, name) {
  const picture = await createImageBitmap(file).catch(() => null); // rotated as its EXIF orientation says
  if (!picture)
    throw new Refused({
      code: "not_a_picture",
      message: `“${name}” is not a picture this browser can read`,
      hint: "Use a JPEG, PNG or WebP.",
    });
  const photo = await draw(picture, picture.width, picture.height);
  picture.close();
  return photo;
}

/**
 * Copies the present picture of a video as the camera sees it, never mirrored.
 * @param {HTMLVideoElement} video @returns {Promise<Photo>}
 */
export const photoOfVideo = (video) => draw(video, video.videoWidth, video.videoHeight);

/**
 * Draws a picture and encodes it.
 * @param {CanvasImageSource} source @param {number} width @param {number} height @returns {Promise<Photo>}
 */
async function draw(source, width, height) {
  const scale = Math.min(1, LONGEST_PX / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#808080"; // a neutral wall behind a transparent picture
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const jpeg = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
  if (!jpeg) throw new Refused({ code: "not_a_picture", message: "The picture is empty", hint: "Choose another." });
  return { jpeg, canvas };
}
