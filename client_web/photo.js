// @ts-check
// A picture of any origin → the JPEG that is uploaded: upright, at most 1536 px long, without the file's metadata.

import { Refused } from "./protocol.js";

const LONGEST_PX = 1536; // the server looks at 1280; a phone's photo of 12 megapixels says nothing more
const JPEG_QUALITY = 0.92;

/** @typedef {{jpeg: Blob, canvas: HTMLCanvasElement}} Photo */

/** @param {Blob} file @param {string} name @returns {Promise<Photo>} throws Refused for what this browser cannot read */
export async function photoOf(file, name) {
  const picture = await createImageBitmap(file).catch(() => null); // turned as EXIF says
  if (!picture)
    throw new Refused({
      code: "not_a_picture",
      message: `“${name}” is not a picture this browser can read`,
      hint: "Use a JPEG, PNG or WebP.",
    });
  const photo = await drawn(picture, picture.width, picture.height);
  picture.close();
  return photo;
}

/** The picture a video shows at this moment, as the camera sees it: never mirrored. @param {HTMLVideoElement} video */
export const photoOfVideo = (video) => drawn(video, video.videoWidth, video.videoHeight);

/** @param {CanvasImageSource} source @param {number} width @param {number} height @returns {Promise<Photo>} */
async function drawn(source, width, height) {
  const scale = Math.min(1, LONGEST_PX / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#808080"; // behind a transparent picture: neither a bright nor a dark wall
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const jpeg = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
  if (!jpeg) throw new Refused({ code: "not_a_picture", message: "The picture is empty", hint: "Choose another." });
  return { jpeg, canvas };
}
