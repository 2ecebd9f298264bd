// @ts-check
// The one video track that goes out: it reads the camera's and the relit track, lets PictureSwitch decide, and writes what is shown.
// Chromium reads and writes tracks as streams; elsewhere a canvas does.

import { readPictures } from "./picture_reader.js";
import { pictureWriter } from "./picture_writer.js";
import { PictureSwitch } from "./picture_switch.js";
import { every } from "./ticker.js";

/** @typedef {import("./picture_switch.js").Shown} Shown */
/** @typedef {{width: number, height: number}} Size */

const TICK_MS = 100;
const CARD = "#181818"; // the server's own card where nothing came yet

export class PictureOutput {
  #writer = pictureWriter();
  #switch;
  #stopTicker;
  #stopCamera = () => {};
  #stopRelit = () => {};
  #mirror = false;
  /** @type {OffscreenCanvas | null} */
  #mirrored = null;
  /** The portrait at the size it is shown at; null while no avatar is chosen. @type {OffscreenCanvas | null} */
  #still = null;
  /** @type {{picture: CanvasImageSource & Size | null, size: Size} | null} */
  #portrait = null;
  /** @type {Size} */
  #size = { width: 640, height: 480 };
  /** RTP timestamp of the relit picture in hand. @type {number | null} */
  #rtp = null;
  #on;

  /**
   * @param {object} on
   * @param {(shown: Shown) => void} on.change another kind of picture is shown
   * @param {(shown: "relit" | "camera", rtp: number | null, now_ms: number) => void} on.picture one goes out
   * @param {() => void} on.ended the camera's track has ended
   */
  constructor(on) {
    this.#on = on;
    this.#switch = new PictureSwitch({
      write: (frame, shown) => this.#write(frame, shown),
      still: () => this.#writeStill(),
      change: (shown) => on.change(shown),
    });
    this.#stopTicker = every(TICK_MS, () => this.#switch.tick(performance.now()));
  }

  /** @returns {MediaStreamTrack} */
  get track() {
    return this.#writer.track;
  }

  /** @returns {Shown} */
  get showing() {
    return this.#switch.showing;
  }

  /** @param {(rtp: number | null) => boolean} admits tells whether a relit picture may be shown @returns {void} */
  admit(admits) {
    this.#switch.admits = admits;
  }

  /** Reads the camera from this track from now on. @param {MediaStreamTrack | null} track @returns {void} */
  setCamera(track) {
    this.#stopCamera();
    this.#stopCamera = () => {};
    if (!track) return;
    this.#stopCamera = readPictures(track, (frame) => this.#switch.camera(frame, performance.now()), this.#on.ended);
  }

  /**
   * Reads relit pictures from this track from now on; those of the track before go on until one of these may be shown.
   * @param {MediaStreamTrack | null} track @param {RTCRtpReceiver} [receiver] its own
   * @param {(rtp: number | null) => boolean} [begins] tells of each picture until the first one, which is about to be shown
   */
  setRelit(track, receiver, begins = () => true) {
    const stopBefore = this.#stopRelit;
    this.#stopRelit = () => {};
    if (!track) return stopBefore();
    let begun = false;
    const stop = readPictures(
      track,
      (frame, rtp) => {
        if (!begun) {
          if (!begins(rtp)) return frame.close();
          begun = true;
          stopBefore();
        }
        this.#rtp = rtp;
        this.#switch.relit(frame, rtp, performance.now());
      },
      () => {}, // of a connection that was closed
      receiver,
    );
    this.#stopRelit = () => {
      stopBefore();
      stop();
    };
  }

  /** Mirrors the camera as the server mirrors the relit picture. @param {boolean} on @returns {void} */
  setMirror(on) {
    this.#mirror = on;
  }

  /**
   * Shows a portrait in place of the camera.
   * @param {(CanvasImageSource & Size) | "card" | null} portrait "card": a dark card, until there is a portrait; null: the camera
   */
  setStill(portrait) {
    const changed = (portrait === null) !== (this.#portrait === null);
    this.#portrait = portrait === null ? null : { picture: portrait === "card" ? null : portrait, size: this.#size };
    this.#still = null;
    if (changed) this.#switch.setStill(portrait !== null, performance.now());
  }

  /** @returns {void} */
  stop() {
    this.#stopTicker();
    this.#stopCamera();
    this.#stopRelit();
    this.#writer.stop();
  }

  /** @param {VideoFrame} frame @param {"relit" | "camera"} shown */
  #write(frame, shown) {
    const now_ms = performance.now();
    this.#size = { width: frame.displayWidth, height: frame.displayHeight };
    if (shown === "camera" && this.#mirror) frame = this.#flip(frame);
    this.#on.picture(shown, shown === "relit" ? this.#rtp : null, now_ms);
    // Camera and server have timelines of their own, and readers of the track want one that goes forward.
    const stamped = new VideoFrame(frame, { timestamp: Math.round(now_ms * 1000) });
    frame.close();
    this.#writer.write(stamped, shown === "relit");
  }

  /** @param {VideoFrame} frame @returns {VideoFrame} */
  #flip(frame) {
    const { displayWidth: width, displayHeight: height, timestamp } = frame;
    if (this.#mirrored?.width !== width || this.#mirrored.height !== height) this.#mirrored = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (this.#mirrored.getContext("2d", { alpha: false }));
    context.setTransform(-1, 0, 0, 1, width, 0);
    context.drawImage(frame, 0, 0);
    frame.close();
    return new VideoFrame(this.#mirrored, { timestamp });
  }

  #writeStill() {
    const portrait = this.#portrait;
    if (!portrait) return;
    // Of the size of the pictures before it: a track that changes its size disturbs a call.
    if (!this.#still || this.#still.width !== this.#size.width || this.#still.height !== this.#size.height)
      this.#still = drawn(portrait.picture, this.#size);
    this.#writer.write(new VideoFrame(this.#still, { timestamp: Math.round(performance.now() * 1000) }));
  }
}

/**
 * Draws a picture so that it covers a size, its upper part where it is too high: the face is there.
 * @param {(CanvasImageSource & Size) | null} picture null: a dark card @param {Size} size @returns {OffscreenCanvas}
 */
function drawn(picture, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  context.fillStyle = CARD;
  context.fillRect(0, 0, width, height);
  if (!picture) return canvas;
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - w) / 2, (height - h) / 4, w, h);
  return canvas;
}
