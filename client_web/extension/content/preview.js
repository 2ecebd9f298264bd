// @ts-check
// Small pictures of before and after for the popup, while it is open. They go to the popup and nowhere else.

/** @typedef {import("./camera.js").Camera} Camera */

const WIDTH = 336;
const INTERVAL_MS = 120;
const JPEG_QUALITY = 0.72;

export class Preview {
  #before = silentVideo();
  #after = silentVideo();
  #canvas = document.createElement("canvas");
  #timer = 0;
  #show;

  /** @param {(pictures: {before: string, after: string}) => void} show data URLs; "" before the first picture */
  constructor(show) {
    this.#show = show;
  }

  /** @param {Camera} camera @returns {void} */
  start(camera) {
    this.stop();
    this.#before.srcObject = new MediaStream([camera.source]);
    this.#after.srcObject = camera.relit;
    for (const video of [this.#before, this.#after]) video.play().catch(() => {});
    this.#timer = window.setInterval(
      () => this.#show({ before: this.#grab(this.#before), after: this.#grab(this.#after) }),
      INTERVAL_MS,
    );
  }

  /** @returns {void} */
  stop() {
    clearInterval(this.#timer);
    this.#before.srcObject = this.#after.srcObject = null;
  }

  /** @param {HTMLVideoElement} video @returns {string} */
  #grab(video) {
    if (!video.videoWidth) return "";
    const canvas = this.#canvas;
    canvas.width = WIDTH;
    canvas.height = Math.round((WIDTH * video.videoHeight) / video.videoWidth);
    /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", JPEG_QUALITY);
  }
}

function silentVideo() {
  const video = document.createElement("video");
  video.muted = true;
  return video;
}
