// @ts-check
// Opens the participant's microphone, explains why it does not open, and lists the microphones there are.

/** @typedef {{deviceId: string, label: string}} MicrophoneInfo */
/** @typedef {"off" | "asking" | "on" | "muted"} MicrophoneState */

/** There is no sound; `message` is a title for people, and `hint` says what to do. */
export class NoMicrophone extends Error {
  /** @param {string} code @param {string} message @param {string} hint */
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** Words an error of `getUserMedia` for people. @param {unknown} error @returns {NoMicrophone} */
function explain(error) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError")
    return new NoMicrophone("microphone_refused", "Microphone access is blocked", "Allow the microphone in the address bar, then try again.");
  if (name === "NotFoundError" || name === "OverconstrainedError")
    return new NoMicrophone("microphone_missing", "No microphone found", "Plug one in, then try again.");
  if (name === "NotReadableError" || name === "AbortError")
    return new NoMicrophone("microphone_busy", "The microphone is in use", "Close the app or tab that uses it, then try again.");
  return new NoMicrophone("microphone_failed", "The microphone did not start", name || String(error));
}

/**
 * Opens a microphone, or any other where it is gone.
 * @param {string} deviceId empty: any @returns {Promise<MediaStreamTrack>} rejects with NoMicrophone
 */
async function openMicrophone(deviceId) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new NoMicrophone(
      "insecure_origin",
      "This address cannot use the microphone",
      "Browsers open the microphone only on https:// or on localhost.",
    );
  const open = (/** @type {MediaTrackConstraints} */ audio) => navigator.mediaDevices.getUserMedia({ audio, video: false });
  try {
    const stream = await open(deviceId ? { deviceId: { exact: deviceId } } : {}).catch((error) => {
      // The remembered microphone is unplugged: any other one is opened.
      if (deviceId && (error?.name === "OverconstrainedError" || error?.name === "NotFoundError")) return open({});
      throw error;
    });
    return stream.getAudioTracks()[0];
  } catch (error) {
    throw explain(error);
  }
}

/** Lists the microphones by name; the browser hides the names until it has permission. @returns {Promise<MicrophoneInfo[]>} */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices
    .filter((device) => device.kind === "audioinput" && device.deviceId)
    .map((device, index) => ({ deviceId: device.deviceId, label: device.label || `Microphone ${index + 1}` }));
}

export class Microphone {
  /** @type {MicrophoneState} */
  state = "off";
  /** The open microphone; muted, it gives silence. @type {MediaStreamTrack | null} */
  track = null;
  #attempt = 0;
  #on;

  /**
   * @param {object} on
   * @param {(state: MicrophoneState, track: MediaStreamTrack | null) => void} on.change
   * @param {(error: NoMicrophone) => void} on.failed it did not open, or was disconnected
   */
  constructor(on) {
    this.#on = on;
  }

  /** Opens a microphone, in place of the one there is. @param {string} deviceId empty: any @returns {Promise<void>} */
  async open(deviceId) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    if (!this.track) this.#set("asking", null);
    try {
      const track = await openMicrophone(deviceId);
      if (attempt !== this.#attempt) return track.stop();
      track.addEventListener("ended", () => {
        if (this.track !== track) return;
        this.close();
        const hint = "Plug it in again, or choose another.";
        this.#on.failed(new NoMicrophone("microphone_lost", "The microphone was disconnected", hint));
      });
      // A microphone that was changed while muted stays muted.
      const muted = this.state === "muted";
      track.enabled = !muted;
      const before = this.track;
      this.#set(muted ? "muted" : "on", track);
      before?.stop();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (!this.track) this.#set("off", null);
      this.#on.failed(/** @type {NoMicrophone} */ (error));
    }
  }

  /** Silences the open microphone at once, or lets it be heard again. @param {boolean} on @returns {void} */
  mute(on) {
    if (!this.track) return;
    this.track.enabled = !on;
    this.#set(on ? "muted" : "on", this.track);
  }

  /** Releases the microphone. @returns {void} */
  close() {
    this.#attempt += 1;
    const before = this.track;
    this.#set("off", null);
    before?.stop();
  }

  /** @param {MicrophoneState} state @param {MediaStreamTrack | null} track */
  #set(state, track) {
    this.state = state;
    this.track = track;
    this.#on.change(state, track);
  }
}
