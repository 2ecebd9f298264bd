// @ts-check
// A video track made of the pictures that are written to it.

/**
 * @typedef {object} Writer
 * @property {MediaStreamTrack} track
 * @property {(frame: VideoFrame, received?: boolean) => void} write owns the frame; received: it came through a connection
 * @property {() => void} stop
 */

/** @returns {Writer} */
export function pictureWriter() {
  const Generator = Reflect.get(globalThis, "MediaStreamTrackGenerator");
  return Generator ? toStream(new Generator({ kind: "video" })) : toCanvas();
}

/** @param {MediaStreamTrack & {writable: WritableStream<VideoFrame>}} generator @returns {Writer} */
function toStream(generator) {
  const writer = generator.writable.getWriter();
  let last = Promise.resolve();
  /** @param {VideoFrame} frame */
  const put = (frame) => {
    // A reader that does not keep up gets fewer pictures, not older ones.
    if (generator.readyState === "ended" || (writer.desiredSize ?? 0) <= 0) frame.close();
    else writer.write(frame).catch(() => frame.close());
  };
  return {
    track: generator,
    write(frame, received = false) {
      const ready = received ? detached(frame) : frame;
      last = last.then(() => ready).then(put, () => {}); // in order, though copies take a moment
    },
    stop() {
      writer.close().catch(() => {});
      generator.stop();
    },
  };
}

/**
 * Copies a picture's pixels. Inside, a picture that came through a connection keeps when that connection believes it was captured, and
 * Chromium tells it on to whoever receives the track: a far side then held the sound back by 0.2 s more, of a picture 1 s late.
 * @param {VideoFrame} frame closed here @returns {Promise<VideoFrame>}
 */
async function detached(frame) {
  try {
    const format = frame.format ?? "RGBA"; // null: it lies in the GPU
    const options = frame.format ? {} : { format: /** @type {const} */ ("RGBA") };
    const pixels = new Uint8Array(frame.allocationSize(options));
    const layout = await frame.copyTo(pixels, options);
    const { displayWidth, displayHeight, colorSpace, timestamp } = frame;
    const { width: codedWidth, height: codedHeight } = /** @type {DOMRectReadOnly} */ (frame.visibleRect);
    const size = { codedWidth, codedHeight, displayWidth, displayHeight };
    return new VideoFrame(pixels, { format, layout, ...size, colorSpace: colorSpace.toJSON(), timestamp });
  } finally {
    frame.close();
  }
}

/** @returns {Writer} */
function toCanvas() {
  const canvas = document.createElement("canvas");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  const [track] = canvas.captureStream().getVideoTracks();
  return {
    track,
    write(frame) {
      if (canvas.width !== frame.displayWidth) canvas.width = frame.displayWidth;
      if (canvas.height !== frame.displayHeight) canvas.height = frame.displayHeight;
      context.drawImage(frame, 0, 0);
      frame.close();
    },
    stop: () => track.stop(),
  };
}
