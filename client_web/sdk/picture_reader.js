// @ts-check
// Reads the pictures of a track, each with its RTP timestamp where it came through a connection.

import { every } from "./ticker.js";

const READ_MS = 16; // without MediaStreamTrackProcessor

/**
 * @param {MediaStreamTrack} track
 * @param {(frame: VideoFrame, rtp: number | null) => void} onFrame it owns the frame, and closes it
 * @param {() => void} onEnd the track has ended
 * @param {RTCRtpReceiver} [receiver] the track's own
 * @returns {() => void} ends it; the track goes on
 */
export function readPictures(track, onFrame, onEnd, receiver) {
  // Browsers that do not write the timestamp beside the frame tell which one they delivered last.
  const rtpOf = (/** @type {any} */ frame) =>
    frame.metadata?.().rtpTimestamp ?? receiver?.getSynchronizationSources()[0]?.rtpTimestamp ?? null;
  const Processor = Reflect.get(globalThis, "MediaStreamTrackProcessor");
  return Processor ? readStream(new Processor({ track }), onFrame, onEnd, rtpOf) : readElement(track, onFrame, onEnd, rtpOf);
}

/**
 * @param {{readable: ReadableStream<VideoFrame>}} processor
 * @param {(frame: VideoFrame, rtp: number | null) => void} onFrame @param {() => void} onEnd
 * @param {(frame: VideoFrame) => number | null} rtpOf
 */
function readStream(processor, onFrame, onEnd, rtpOf) {
  const reader = processor.readable.getReader();
  let stopped = false;
  const next = async () => {
    while (!stopped) {
      const { value, done } = await reader.read();
      if (done) return stopped || onEnd();
      if (stopped) value.close();
      else onFrame(value, rtpOf(value));
    }
  };
  next().catch(() => {}); // cancelled
  return () => {
    stopped = true;
    reader.cancel().catch(() => {});
  };
}

/**
 * Without MediaStreamTrackProcessor: an element plays the track and is copied whenever it has a new picture.
 * @param {MediaStreamTrack} track
 * @param {(frame: VideoFrame, rtp: number | null) => void} onFrame @param {() => void} onEnd
 * @param {(frame: VideoFrame) => number | null} rtpOf
 */
function readElement(track, onFrame, onEnd, rtpOf) {
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  video.play().catch(() => {});
  let shown = -1;
  const stop = every(READ_MS, () => {
    if (track.readyState === "ended") {
      stop();
      return onEnd();
    }
    if (video.readyState < 2 || video.currentTime === shown) return;
    shown = video.currentTime;
    const frame = new VideoFrame(video, { timestamp: Math.round(performance.now() * 1000) });
    onFrame(frame, rtpOf(frame));
  });
  return () => {
    stop();
    video.srcObject = null;
  };
}
