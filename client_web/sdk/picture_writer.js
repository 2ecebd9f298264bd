// @ts-check
// A video track made of the pictures that are written to it.

/** @typedef {{track: MediaStreamTrack, write: (frame: VideoFrame) => void, stop: () => void}} Writer write owns the frame */

/** @returns {Writer} */
export function pictureWriter() {
  const Generator = Reflect.get(globalThis, "MediaStreamTrackGenerator");
  return Generator ? toStream(new Generator({ kind: "video" })) : toCanvas();
}

/** @param {MediaStreamTrack & {writable: WritableStream<VideoFrame>}} generator @returns {Writer} */
function toStream(generator) {
  const writer = generator.writable.getWriter();
  return {
    track: generator,
    write(frame) {
      // A reader that does not keep up gets fewer pictures, not older ones.
      if (generator.readyState === "ended" || (writer.desiredSize ?? 0) <= 0) frame.close();
      else writer.write(frame).catch(() => frame.close());
    },
    stop() {
      writer.close().catch(() => {});
      generator.stop();
    },
  };
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
