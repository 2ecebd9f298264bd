// @ts-check
// Draws the portrait as a small square around its face, with the corners of the box that the tracker found.

/** @typedef {import("./sdk/portrait.js").Box} Box */

const CORNER = 0.24; // of the face's side

/**
 * Draws a portrait's thumbnail over a canvas.
 * @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement} picture @param {Box | null} face null: not found yet @returns {void}
 */
export function drawThumb(canvas, picture, face) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const side = canvas.width;
  const { width, height } = picture;
  const [x, y, w, h] = face ?? [width / 4, height / 4, width / 2, height / 2];
  // The cut shows head and shoulders where a face was found, and the middle of the picture where not.
  const cut = Math.min(width, height, face ? 2.4 * Math.max(w, h) : Infinity);
  const left = Math.min(width - cut, Math.max(0, x + w / 2 - cut / 2));
  const top = Math.min(height - cut, Math.max(0, y + h / 2 - cut / 2));
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, cut, cut, 0, 0, side, side);
  if (!face) return;
  const scale = side / cut;
  corners(context, (x - left) * scale, (y - top) * scale, w * scale, h * scale);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} w @param {number} h */
function corners(context, x, y, w, h) {
  const length = CORNER * Math.min(w, h);
  context.beginPath();
  for (const [cx, cy, dx, dy] of [[x, y, 1, 1], [x + w, y, -1, 1], [x + w, y + h, -1, -1], [x, y + h, 1, -1]]) {
    context.moveTo(cx + dx * length, cy);
    context.arcTo(cx, cy, cx, cy + dy * length, length / 2);
    context.lineTo(cx, cy + dy * length);
  }
  context.lineCap = "round";
  for (const [style, thick] of /** @type {const} */ ([["#0008", 5], ["#ffb84d", 3]])) {
    context.strokeStyle = style;
    context.lineWidth = thick;
    context.stroke();
  }
}
