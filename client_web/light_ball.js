// @ts-check
// The light ball shows a ball under the chosen light, and a handle where its key light is. The pointer and the arrow keys move
// the key light, the wheel changes the intensity.

import { REACH, describe, directionFromPad, keyOf, padFromDirection } from "./light_math.js";
import { find } from "./dom.js";
import { drawBall } from "./shade.js";

/** @typedef {import("./shade.js").Lighting} Lighting */
/** @typedef {import("./light_math.js").Vec3} Vec3 */

const STEP = 0.06; // of the ball's radius, per arrow key; with Shift three times as much
const WHEEL = 0.0012; // intensity per pixel scrolled

export class LightBall {
  #pad = find("#ball-pad");
  #canvas = /** @type {HTMLCanvasElement} */ (find("#ball"));
  #handle = find("#ball-handle");
  #drawn = "";
  #frame = 0;
  /** Position of the handle in radii, y up; null: the light has no key light. @type {[number, number] | null} */
  #at = null;
  #dragging = false;
  #on;

  /**
   * @param {object} on
   * @param {(direction: Vec3) => void} on.aim
   * @param {(change: number) => void} on.intensity
   * @param {() => void} on.reset
   */
  constructor(on) {
    this.#on = on;
    const pad = this.#pad;
    pad.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pad.setPointerCapture(event.pointerId);
      this.#dragging = true;
      pad.classList.add("dragging");
      this.#follow(event);
    });
    pad.addEventListener("pointermove", (event) => this.#dragging && this.#follow(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
      pad.addEventListener(end, () => {
        this.#dragging = false;
        pad.classList.remove("dragging");
      });
    pad.addEventListener("dblclick", () => on.reset());
    pad.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        on.intensity(-event.deltaY * WHEEL);
      },
      { passive: false },
    );
    pad.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * Shows a light.
   * @param {Lighting} light @param {Vec3 | undefined} aimed the participant's direction of the key light; otherwise the light's own
   * @returns {void}
   */
  show(light, aimed) {
    const key = keyOf(light);
    const direction = aimed ?? key?.direction;
    if (!this.#dragging) this.#at = direction ? padFromDirection(direction) : null;
    this.#place();
    const drawn = JSON.stringify([light.ambient_rgb, light.directionals, light.sh]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => drawBall(this.#canvas, light));
  }

  /** @param {PointerEvent} event */
  #follow(event) {
    const box = this.#canvas.getBoundingClientRect();
    const radius = box.width / 2;
    const x = (event.clientX - box.left - radius) / radius;
    const y = (box.top + radius - event.clientY) / radius;
    this.#aim(x, y);
  }

  /** @param {number} x @param {number} y */
  #aim(x, y) {
    const beyond = Math.max(1, Math.hypot(x, y) / REACH);
    this.#at = [x / beyond, y / beyond];
    this.#place();
    this.#on.aim(directionFromPad(...this.#at));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = event.shiftKey ? 3 * STEP : STEP;
    const moves = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, step],
      ArrowDown: [0, -step],
    });
    const move = moves[event.key];
    const [x, y] = this.#at ?? [0, 0];
    if (move) this.#aim(x + move[0], y + move[1]);
    else if (event.key === "+" || event.key === "=") this.#on.intensity(0.05);
    else if (event.key === "-") this.#on.intensity(-0.05);
    else if (event.key === "Home" || event.key === "Backspace") this.#on.reset();
    else return;
    event.preventDefault();
  }

  #place() {
    this.#handle.hidden = !this.#at;
    if (!this.#at) {
      this.#pad.setAttribute("aria-valuetext", "No key light");
      return;
    }
    const [x, y] = this.#at;
    // The pad is REACH radii wide: its centre is 50 %, its rim 0 and 100 %.
    this.#handle.style.left = `${50 + (50 * x) / REACH}%`;
    this.#handle.style.top = `${50 - (50 * y) / REACH}%`;
    const direction = directionFromPad(x, y);
    this.#pad.classList.toggle("behind", direction[2] < 0);
    this.#pad.setAttribute("aria-valuenow", String(Math.round((Math.atan2(direction[0], direction[2]) * 180) / Math.PI)));
    this.#pad.setAttribute("aria-valuetext", describe(direction));
  }
}
