// @ts-check
// Computes the colour of a ball under a full light, as `shading` of lcvd/lighting/lighting.py and lcvd/lighting/sh.py do.
// Linear light; 1 is a facing surface at normal exposure. +x right, +y up, +z to the viewer.

/** @typedef {[number, number, number]} Vec3 */
/** @typedef {{direction: Vec3, rgb: Vec3, wrap?: number, shadow?: number}} DirectionalLight */
/**
 * @typedef {object} Lighting
 * @property {string} name
 * @property {Vec3} ambient_rgb
 * @property {DirectionalLight[]} directionals
 * @property {Vec3[] | null} [sh] 9 × RGB, real SH of order 2
 * @property {number} [specular]
 */

/** Colour of the ball itself: a neutral, slightly warm grey card. */
const ALBEDO = [0.56, 0.54, 0.52];

/**
 * Share of a directional light that a surface receives: the clamped cosine blurred over [-wrap, wrap], 1 when facing it.
 * @param {number} cosine n·direction @param {number} wrap 0 bare bulb … 1 wall of light @returns {number}
 */
export function wrapped(cosine, wrap) {
  const w = Math.max(wrap, 1e-6);
  return cosine >= w ? cosine : Math.max(0, cosine + w) ** 2 / (4 * w);
}

/**
 * Irradiance/π of SH radiance at a normal (Ramamoorthi & Hanrahan 2001, eq. 10): band weights 1, 2/3, 1/4.
 * @param {Vec3[]} sh @param {number} x @param {number} y @param {number} z @param {number} channel @returns {number}
 */
function irradiance(sh, x, y, z, channel) {
  const c = (/** @type {number} */ k) => sh[k][channel];
  return (
    0.282095 * c(0) +
    (2 / 3) * 0.488603 * (y * c(1) + z * c(2) + x * c(3)) +
    0.25 *
      (1.092548 * (x * y * c(4) + y * z * c(5) + x * z * c(7)) +
        0.315392 * (3 * z * z - 1) * c(6) +
        0.546274 * (x * x - y * y) * c(8))
  );
}

/**
 * Linear RGB at a unit normal, clipped at zero.
 * @param {Lighting} light @param {number} x @param {number} y @param {number} z @returns {Vec3}
 */
export function shading(light, x, y, z) {
  /** @type {Vec3} */
  const out = [0, 0, 0];
  for (let channel = 0; channel < 3; channel += 1) {
    let value = light.ambient_rgb[channel];
    for (const { direction, rgb, wrap } of light.directionals) {
      const [lx, ly, lz] = direction;
      value += rgb[channel] * wrapped(x * lx + y * ly + z * lz, wrap ?? 0.2);
    }
    if (light.sh) value += irradiance(light.sh, x, y, z, channel);
    out[channel] = Math.max(0, value);
  }
  return out;
}

/**
 * Blinn highlight of the directional lights at a normal. It is there for the eye only: it shows where
 * the key light is.
 * @param {Lighting} light @param {number} x @param {number} y @param {number} z @returns {number[]} linear RGB
 */
function specular(light, x, y, z) {
  const out = [0, 0, 0];
  for (const { direction, rgb, wrap } of light.directionals) {
    const [lx, ly, lz] = direction;
    const length = Math.hypot(lx, ly, lz + 1) || 1;
    const facing = Math.max(0, (x * lx + y * ly + z * (lz + 1)) / length);
    const lit = Math.max(0, Math.min(1, 4 * (x * lx + y * ly + z * lz)));
    const highlight = 0.28 * lit * facing ** (40 - 24 * (wrap ?? 0.2));
    for (let channel = 0; channel < 3; channel += 1) out[channel] += highlight * rgb[channel];
  }
  return out;
}

/** Linear → 8-bit sRGB, with a shoulder so that strong lights keep their colour instead of clipping. */
const ENCODE = (() => {
  const table = new Uint8ClampedArray(2048);
  for (let i = 0; i < table.length; i += 1) {
    const linear = (i / (table.length - 1)) * 4;
    const soft = linear < 0.6 ? linear : 0.6 + 0.4 * (1 - Math.exp(-(linear - 0.6) / 0.4));
    table[i] = 255 * (soft <= 0.0031308 ? 12.92 * soft : 1.055 * soft ** (1 / 2.4) - 0.055);
  }
  return table;
})();

/**
 * Paints a ball under `light` so that it fills the canvas.
 * @param {HTMLCanvasElement} canvas @param {Lighting} light @returns {void}
 */
export function drawBall(canvas, light) {
  const size = canvas.width;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(size, size);
  const radius = size / 2;
  for (let row = 0; row < size; row += 1) {
    const y = (radius - row - 0.5) / radius;
    for (let column = 0; column < size; column += 1) {
      const x = (column + 0.5 - radius) / radius;
      const inside = x * x + y * y;
      // One pixel beyond the rim is painted too: CSS clips the circle, and an empty rim would show through.
      const shrink = inside > 0.9999 ? Math.sqrt(0.9999 / inside) : 1;
      const z = Math.sqrt(Math.max(0, 1 - inside * shrink * shrink));
      const received = shading(light, x * shrink, y * shrink, z);
      const round = 0.72 + 0.28 * z; // what ambient light leaves at a rim: without it a flat light draws a flat disc
      const highlight = specular(light, x * shrink, y * shrink, z);
      const at = 4 * (row * size + column);
      for (let channel = 0; channel < 3; channel += 1) {
        const linear = round * ALBEDO[channel] * received[channel] + highlight[channel];
        image.data[at + channel] = ENCODE[Math.min(2047, Math.round(linear * 511.75))];
      }
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}
