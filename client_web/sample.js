// @ts-check
// The sample picture: a public-domain NASA portrait that sways as a person does, as a 640×480 camera stream.

import { every } from "./sdk/ticker.js";

const WIDTH = 640;
const HEIGHT = 480;
const PACE_MS = 1000 / 30;
/** The crop of the 512×512 portrait that frames her like a webcam. */
const CENTRE = { x: 236, y: 158 };
const ZOOM = 1.48;
const MARGIN = 24;

/**
 * Extends the portrait at its upper edge, so that no sway shows a border.
 * @param {ImageBitmap} picture @returns {HTMLCanvasElement}
 */
function padded(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height + MARGIN;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(picture, 0, 0, picture.width, 2, 0, 0, picture.width, MARGIN + 1);
  context.drawImage(picture, 0, MARGIN);
  return canvas;
}

/** Starts the sample. @returns {Promise<{stream: MediaStream, stop: () => void}>} rejects where the portrait cannot be loaded */
export async function openSample() {
  const response = await fetch(new URL("sample/portrait.jpg", import.meta.url));
  if (!response.ok) throw new Error(`sample portrait: HTTP ${response.status}`);
  const portrait = padded(await createImageBitmap(await response.blob()));
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  context.imageSmoothingQuality = "high";
  const motion = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0.25 : 1;
  const began = performance.now();

  const draw = () => {
    const t = (performance.now() - began) / 1000;
    // The periods are incommensurate, so that the sway never visibly repeats.
    const swayX = motion * (7 * Math.sin(t * 0.83) + 3 * Math.sin(t * 1.91 + 1));
    const swayY = motion * (3.5 * Math.sin(t * 1.07 + 2) + 1.2 * Math.sin(t * 2.3));
    const lean = motion * 0.022 * Math.sin(t * 0.71 + 0.5);
    const zoom = ZOOM * (1.02 + motion * 0.02 * Math.sin(t * 0.47));
    context.setTransform(zoom, 0, 0, zoom, WIDTH / 2, HEIGHT / 2);
    context.rotate(lean);
    context.drawImage(portrait, -CENTRE.x - swayX, -CENTRE.y - MARGIN - swayY);
  };
  draw();
  const stream = canvas.captureStream(30);
  for (const track of stream.getVideoTracks()) track.contentHint = "motion";
  const stopTicker = every(PACE_MS, draw);
  return {
    stream,
    stop() {
      stopTicker();
      for (const track of stream.getTracks()) track.stop();
    },
  };
}
