// @ts-check
// Opens the participant's camera, explains why it does not open, and lists the cameras there are.

/** @typedef {{deviceId: string, label: string}} CameraInfo */

const SIZES = { "480p": [640, 480], "720p": [1280, 720] };

/** There is no camera picture; `message` is a title for people, and `hint` says what to do. */
export class NoCamera extends Error {
  /** @param {string} code @param {string} message @param {string} hint */
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** Words an error of `getUserMedia` for people. @param {unknown} error @returns {NoCamera} */
function explain(error) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError")
    return new NoCamera("camera_refused", "Camera access is blocked", "Allow the camera in the address bar, then try again.");
  if (name === "NotFoundError" || name === "OverconstrainedError")
    return new NoCamera("camera_missing", "No camera found", "Plug one in, then try again.");
  if (name === "NotReadableError" || name === "AbortError")
    return new NoCamera("camera_busy", "The camera is in use", "Close the app or tab that uses it, then try again.");
  return new NoCamera("camera_failed", "The camera did not start", name || String(error));
}

/**
 * Opens a camera, or any other where it is gone.
 * @param {string} deviceId empty: any @param {"480p" | "720p"} size @returns {Promise<MediaStream>} rejects with NoCamera
 */
export async function openCamera(deviceId, size) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new NoCamera(
      "insecure_origin",
      "This address cannot use the camera",
      "Browsers open the camera only on https:// or on localhost.",
    );
  const [width, height] = SIZES[size];
  const ideal = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
  const open = (/** @type {MediaTrackConstraints} */ video) => navigator.mediaDevices.getUserMedia({ video, audio: false });
  try {
    const stream = await open(deviceId ? { ...ideal, deviceId: { exact: deviceId } } : { ...ideal, facingMode: "user" }).catch(
      (error) => {
        // The remembered camera is unplugged: any other one is opened.
        if (error?.name === "OverconstrainedError" || error?.name === "NotFoundError") return open(ideal);
        throw error;
      },
    );
    for (const track of stream.getVideoTracks()) track.contentHint = "motion";
    return stream;
  } catch (error) {
    throw explain(error);
  }
}

/** Lists the cameras by name; the browser hides the names until it has permission. @returns {Promise<CameraInfo[]>} */
export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices
    .filter((device) => device.kind === "videoinput" && device.deviceId)
    .map((device, index) => ({ deviceId: device.deviceId, label: device.label || `Camera ${index + 1}` }));
}

/** Calls a listener when a camera is plugged in or out. @param {() => void} listener @returns {void} */
export function onCamerasChanged(listener) {
  navigator.mediaDevices?.addEventListener?.("devicechange", listener);
}
