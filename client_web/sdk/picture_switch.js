// @ts-check
// Decides, picture by picture, which one goes out: the relit one, or in its place the camera's or a still portrait. It opens
// nothing and has no clock of its own, so that it works wherever pictures can be read and written.

/** @typedef {"relit" | "camera" | "portrait" | "none"} Shown */
/** @typedef {{frame: VideoFrame, rtp: number | null}} Relit */

/** Relit pictures stay away so long: the camera is shown. With a camera of 10 fps the change takes less than half a second. */
const HOLD_MS = 350;
/** Relit pictures must have come without a gap for so long before they are shown again: a slow server does not flicker. */
const STEADY_MS = 150;
const STEADY_FRAMES = 3;
/** A still portrait is drawn again at this pace, for encoders that want pictures. */
const STILL_MS = 100;

export class PictureSwitch {
  #showing = /** @type {Shown} */ ("none");
  #still = false;
  /** Tells of a relit picture, by its RTP timestamp, whether it may be shown. @type {(rtp: number | null) => boolean} */
  admits = () => true;
  #last_ms = -Infinity;
  #steadySince_ms = 0;
  #steady = 0;
  #drawn_ms = -Infinity;
  #on;

  /**
   * @param {object} on
   * @param {(frame: VideoFrame, shown: "relit" | "camera") => void} on.write shows a picture; it owns the picture from then on
   * @param {() => void} on.still shows the still portrait
   * @param {(shown: Shown) => void} on.change called when another kind of picture begins to be shown
   */
  constructor(on) {
    this.#on = on;
  }

  /** @returns {Shown} */
  get showing() {
    return this.#showing;
  }

  /** Shows a still portrait in place of the camera, or the camera again. @param {boolean} on @param {number} now_ms @returns {void} */
  setStill(on, now_ms) {
    this.#still = on;
    this.#drawn_ms = -Infinity;
    if (on) this.restart(); // a relit picture of the camera may not stay either
    if (!on && this.#showing === "portrait") this.#show("none");
    this.tick(now_ms);
  }

  /** Waits for steady relit pictures again. @returns {void} */
  restart() {
    this.#last_ms = -Infinity;
    this.#steady = 0;
  }

  /** @param {VideoFrame} frame @param {number | null} rtp @param {number} now_ms @returns {void} */
  relit(frame, rtp, now_ms) {
    if (!this.admits(rtp)) return frame.close();
    if (now_ms - this.#last_ms > HOLD_MS) [this.#steady, this.#steadySince_ms] = [0, now_ms];
    this.#last_ms = now_ms;
    this.#steady += 1;
    const steady = this.#steady >= STEADY_FRAMES && now_ms - this.#steadySince_ms >= STEADY_MS;
    if (this.#showing !== "relit" && !steady) return frame.close();
    this.#show("relit");
    this.#on.write(frame, "relit");
  }

  /** @param {VideoFrame} frame @param {number} now_ms @returns {void} */
  camera(frame, now_ms) {
    if (this.#still || this.#fresh(now_ms)) {
      frame.close();
      return this.tick(now_ms);
    }
    this.#show("camera");
    this.#on.write(frame, "camera");
  }

  /** Is called ten times a second, where timers are not throttled. @param {number} now_ms @returns {void} */
  tick(now_ms) {
    if (!this.#still || this.#fresh(now_ms) || now_ms - this.#drawn_ms < STILL_MS) return;
    this.#drawn_ms = now_ms;
    this.#show("portrait");
    this.#on.still();
  }

  /** @param {number} now_ms */
  #fresh(now_ms) {
    return this.#showing === "relit" && now_ms - this.#last_ms <= HOLD_MS;
  }

  /** @param {Shown} shown */
  #show(shown) {
    if (shown === this.#showing) return;
    this.#showing = shown;
    if (shown !== "relit") this.restart();
    this.#on.change(shown);
  }
}
