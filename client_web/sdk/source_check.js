// @ts-check
// Looks at what is handed in to be relit, and words what is wrong with it. Nothing of it ends the call.

/** @typedef {import("./relight.js").Trouble} Trouble */
/** @typedef {{picture: MediaStreamTrack | null, sound: MediaStreamTrack | null, troubles: Trouble[]}} Source */

const LARGE_PX = 1920 * 1080;
const SENT_PX = 1280 * 720;

/**
 * @param {MediaStream | null} stream null: nothing is sent, on purpose
 * @returns {Source} the tracks that can be used; throws TypeError where it is no MediaStream
 */
export function checkSource(stream) {
  if (stream === null) return { picture: null, sound: null, troubles: [] };
  if (!(stream instanceof MediaStream))
    throw new TypeError(`stream=${Object.prototype.toString.call(stream)} is no MediaStream: hand in what getUserMedia gave`);
  const [picture] = stream.getVideoTracks();
  const sound = stream.getAudioTracks().find((track) => track.readyState === "live") ?? null;
  if (!picture)
    return {
      picture: null,
      sound,
      troubles: [trouble("no_video", "The stream has no video track", "Ask getUserMedia for video, then call replaceSource.")],
    };
  if (picture.readyState === "ended") return { picture: null, sound, troubles: [ended()] };
  const troubles = [];
  const { width = 0, height = 0, displaySurface } = picture.getSettings();
  if (displaySurface)
    troubles.push(trouble("screen_track", "This is a screen, not a camera", "Only faces are relit: hand in the camera's track."));
  if (width * height > LARGE_PX)
    troubles.push(
      trouble(
        "too_large",
        `The picture of ${width} × ${height} is scaled down`,
        `Open the camera with 1280 × 720 or less: it is sent ${scaleOf(width, height).toFixed(1)} times smaller.`,
      ),
    );
  return { picture, sound, troubles };
}

/** How many times smaller a picture is sent than it is. @param {number} width @param {number} height @returns {number} 1…  */
export const scaleOf = (width, height) =>
  width * height > LARGE_PX ? Math.sqrt((width * height) / SENT_PX) : 1;

/** @returns {Trouble} */
export const ended = () =>
  trouble("track_ended", "The camera's track has ended", "Open the camera again, then call replaceSource.");

/** @param {string} code @param {string} message @param {string} hint @returns {Trouble} */
const trouble = (code, message, hint) => ({ code, message, hint });
