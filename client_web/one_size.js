// @ts-check
// Passes a track's pictures on in one size. The relit picture changes its size when the network or the engine does; H.264 in MP4 cannot
// follow (Chromium 156 goes on writing, and players show the old picture with rubbish), and video editors stumble over it anywhere.

import { readPictures } from "./sdk/picture_reader.js";
import { pictureWriter } from "./sdk/picture_writer.js";

/** @typedef {{width: number, height: number}} Size */

/**
 * Returns the size to record in: the source's where it has the picture's shape, since a call begins small and grows.
 * @param {MediaTrackSettings} picture @param {MediaTrackSettings} [source] @returns {Size} even, as encoders want it
 */
export function sizeOf(picture, source) {
  const { width = 640, height = 480 } = picture;
  const { width: w = 0, height: h = 0 } = source ?? {};
  const larger = w > width && Math.abs(w / h / (width / height) - 1) < 0.02;
  const even = (/** @type {number} */ side) => side - (side % 2);
  return larger ? { width: even(w), height: even(h) } : { width: even(width), height: even(height) };
}

/**
 * @param {MediaStreamTrack} track @param {Size} size others are scaled to fit, on black
 * @returns {{track: MediaStreamTrack, stop: () => void}} the very track where the browser cannot read pictures as a stream
 */
export function inOneSize(track, size) {
  if (!("MediaStreamTrackProcessor" in globalThis && "MediaStreamTrackGenerator" in globalThis)) return { track, stop: () => {} };
  const writer = pictureWriter();
  const stopReading = readPictures(
    track,
    (frame) => writer.write(frame.displayWidth === size.width && frame.displayHeight === size.height ? frame : fitted(frame, size)),
    () => writer.stop(),
  );
  return {
    track: writer.track,
    stop() {
      stopReading();
      writer.stop();
    },
  };
}

/** @param {VideoFrame} frame is closed @param {Size} size @returns {VideoFrame} */
function fitted(frame, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  const scale = Math.min(width / frame.displayWidth, height / frame.displayHeight);
  const [w, h] = [frame.displayWidth * scale, frame.displayHeight * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(frame, (width - w) / 2, (height - h) / 2, w, h);
  const { timestamp } = frame;
  frame.close();
  return new VideoFrame(canvas, { timestamp });
}
