// @ts-check
// Computes `adjust` of the protocol in the page, and maps the direction of the key light to the flat pad around the ball and back.
// The pad's disc of radius 1 is the front hemisphere seen from the camera; from radius 1 to REACH the light goes behind the head.

/** @typedef {import("./shade.js").Vec3} Vec3 */
/** @typedef {import("./shade.js").Lighting} Lighting */
/** @typedef {import("./shade.js").DirectionalLight} DirectionalLight */
/** @typedef {{direction?: Vec3, intensity?: number, temperature_k?: number, softness?: number}} Adjust */

export const REACH = 1.32;
/** Largest angle from the front, in radians: beyond it no light reaches the face. */
const MAX_ANGLE = (150 / 180) * Math.PI;

/**
 * Maps the pad to the sphere.
 * @param {number} x pad, right @param {number} y pad, up @returns {Vec3} unit direction to the light
 */
export function directionFromPad(x, y) {
  const radius = Math.min(REACH, Math.hypot(x, y));
  if (radius < 1e-6) return [0, 0, 1];
  const angle =
    radius <= 1 ? Math.asin(radius) : Math.PI / 2 + ((radius - 1) / (REACH - 1)) * (MAX_ANGLE - Math.PI / 2);
  const scale = Math.sin(angle) / Math.hypot(x, y);
  return [x * scale, y * scale, Math.cos(angle)];
}

/**
 * Maps the sphere to the pad: the inverse of `directionFromPad`.
 * @param {Vec3} direction @returns {[number, number]} pad position
 */
export function padFromDirection([x, y, z]) {
  const across = Math.hypot(x, y);
  if (across < 1e-6) return z >= 0 ? [0, 0] : [0, REACH];
  const angle = Math.min(MAX_ANGLE, Math.atan2(across, z));
  const radius =
    angle <= Math.PI / 2 ? Math.sin(angle) : 1 + ((angle - Math.PI / 2) / (MAX_ANGLE - Math.PI / 2)) * (REACH - 1);
  return [(x / across) * radius, (y / across) * radius];
}

/** Describes a direction to the light in words. @param {Vec3} direction @returns {string} */
export function describe([x, y, z]) {
  const side = Math.abs(x) < 0.2 ? "" : x < 0 ? "left" : "right";
  const height = Math.abs(y) < 0.2 ? "" : y > 0 ? "above" : "below";
  const depth = z < -0.1 ? "behind" : "in front";
  const where = [height, side].filter(Boolean).join(" ");
  return where ? `From ${where}, ${depth}` : `From ${depth}`;
}

/** @param {Vec3} rgb linear @returns {number} */
const luminance = (rgb) => 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];

/**
 * Finds the key light, the directional light of largest luminance.
 * @param {Lighting} light @returns {DirectionalLight | undefined}
 */
export function keyOf(light) {
  return light.directionals.reduce(
    (/** @type {DirectionalLight | undefined} */ best, each) =>
      !best || luminance(each.rgb) > luminance(best.rgb) ? each : best,
    undefined,
  );
}

/**
 * Computes `adjust` of lcvd/lighting/lighting.py, so that the ball follows before the server answers. An environment (`sh`) is not
 * rotated here: the server's acknowledgement brings the exact light a moment later.
 * @param {Lighting} light @param {Adjust} adjust @returns {Lighting}
 */
export function adjusted(light, adjust) {
  const tint = adjust.temperature_k === undefined ? [1, 1, 1] : tintOf(adjust.temperature_k);
  const gain = tint.map((value) => value * (adjust.intensity ?? 1));
  const scale = (/** @type {Vec3} */ rgb) => /** @type {Vec3} */ (rgb.map((value, i) => value * gain[i]));
  const key = keyOf(light);
  const rotate = adjust.direction && key ? rotationBetween(key.direction, adjust.direction) : (/** @type {Vec3} */ v) => v;
  return {
    ...light,
    ambient_rgb: scale(light.ambient_rgb),
    sh: light.sh?.map(scale) ?? null,
    directionals: light.directionals.map((each) => ({
      ...each,
      direction: rotate(each.direction),
      rgb: scale(each.rgb),
      wrap: each === key ? (adjust.softness ?? each.wrap) : each.wrap,
    })),
  };
}

/**
 * The shortest rotation that takes a to b (Rodrigues); opposite vectors are rotated about the vertical.
 * @param {Vec3} a @param {Vec3} b @returns {(v: Vec3) => Vec3}
 */
function rotationBetween(a, b) {
  const c = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const v = cross(a, b);
  return (/** @type {Vec3} */ p) => {
    if (c < -0.999999) return /** @type {Vec3} */ ([-p[0], p[1], -p[2]]);
    const once = cross(v, p);
    const twice = cross(v, once);
    return /** @type {Vec3} */ (p.map((value, i) => value + once[i] + twice[i] / (1 + c)));
  };
}

/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

/**
 * Colour of a black body relative to 6500 K, luminance 1 (Kim et al. 2006, as in lcvd/lighting/lighting.py).
 * @param {number} k kelvin @returns {number[]} linear sRGB
 */
export function tintOf(k) {
  const [now, neutral] = [planckian(k), planckian(6500)];
  const ratio = /** @type {Vec3} */ (now.map((value, i) => Math.max(0, value / neutral[i])));
  return ratio.map((value) => value / luminance(ratio));
}

/** @param {number} t kelvin @returns {Vec3} linear sRGB, luminance 1 */
function planckian(t) {
  const k = 1000 / t;
  const poly = (/** @type {number} */ v, /** @type {number[]} */ ...c) => c.reduce((sum, each) => sum * v + each, 0);
  const x =
    t <= 4000
      ? poly(k, -0.2661239, -0.2343589, 0.8776956, 0.17991)
      : poly(k, -3.0258469, 2.1070379, 0.2226347, 0.24039);
  const y =
    t <= 2222
      ? poly(x, -1.1063814, -1.3481102, 2.18555832, -0.20219683)
      : t <= 4000
        ? poly(x, -0.9549476, -1.37418593, 2.09137015, -0.16748867)
        : poly(x, 3.081758, -5.8733867, 3.75112997, -0.37001483);
  const [X, Z] = [x / y, (1 - x - y) / y];
  return [
    3.2404542 * X - 1.5371385 - 0.4985314 * Z,
    -0.969266 * X + 1.8760108 + 0.041556 * Z,
    0.0556434 * X - 0.2040259 + 1.0572252 * Z,
  ];
}
