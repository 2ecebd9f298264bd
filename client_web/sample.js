// @ts-check
// The built-in sitter: a public-domain NASA portrait, swaying as a person does, as a 640×480 camera stream.

const WIDTH = 640;
const HEIGHT = 480;
/** The crop of the 512×512 portrait that frames her like a webcam. */
const CENTRE = { x: 236, y: 158 };
const ZOOM = 1.48;
const MARGIN = 24;

/** The portrait with its upper edge continued, so that no sway uncovers a border. @param {ImageBitmap} picture */
function padded(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height + MARGIN;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(picture, 0, 0, picture.width, 2, 0, 0, picture.width, MARGIN + 1);
  context.drawImage(picture, 0, MARGIN);
  return canvas;
}

/** @returns {Promise<{stream: MediaStream, stop: () => void}>} */
export async function openSample() {
  const response = await fetch(new URL("sample/portrait.jpg", import.meta.url));
  if (!response.ok) throw new Error(`sample portrait: HTTP ${response.status}`);
  const portrait = padded(await createImageBitmap(await response.blob()));
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  context.imageSmoothingQuality = "high";
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0.25 : 1;
  const began = performance.now();

  const draw = () => {
    const t = (performance.now() - began) / 1000;
    // Incommensurate periods, so that the sway never visibly repeats.
    const swayX = calm * (7 * Math.sin(t * 0.83) + 3 * Math.sin(t * 1.91 + 1));
    const swayY = calm * (3.5 * Math.sin(t * 1.07 + 2) + 1.2 * Math.sin(t * 2.3));
    const lean = calm * 0.022 * Math.sin(t * 0.71 + 0.5);
    const zoom = ZOOM * (1.02 + calm * 0.02 * Math.sin(t * 0.47));
    context.setTransform(zoom, 0, 0, zoom, WIDTH / 2, HEIGHT / 2);
    context.rotate(lean);
    context.drawImage(portrait, -CENTRE.x - swayX, -CENTRE.y - MARGIN - swayY);
  };
  draw();
  const stream = canvas.captureStream(30);
  for (const track of stream.getVideoTracks()) track.contentHint = "motion";
  const beat = new Worker(new URL("tick.js", import.meta.url));
  beat.addEventListener("message", draw);
  return {
    stream,
    stop() {
      beat.terminate();
      for (const track of stream.getTracks()) track.stop();
    },
  };
}
