// @ts-check
// Records the relit picture and the sound that matches it into a file on this machine. Nothing is uploaded.

import { fileName, save } from "./download.js";
import { inOneSize, sizeOf } from "./one_size.js";
import { Spool } from "./spool.js";

/** @typedef {"idle" | "starting" | "recording" | "saving"} RecorderState */

/**
 * MP4 with H.264 plays nearly everywhere, and browsers write it so that players know its length and can seek. Firefox has WebM alone.
 */
const TYPES = [
  "video/mp4;codecs=avc1.42E01F,mp4a.40.2",
  "video/mp4;codecs=avc1.42E01F,opus",
  "video/mp4",
  "video/webm;codecs=vp9,opus",
  "video/webm;codecs=vp8,opus",
  "video/webm",
];
const PART_MS = 1000;
/** MP4 is written from key frame to key frame, and players seek to them. */
const KEY_FRAME_MS = 2000;
const BITS_PER_S = { small: 2_500_000, large: 5_000_000, sound: 128_000 };
const LARGE_PX = 1280 * 720;
/** The browser copies a finished recording into the downloads; an hour's takes seconds. */
const RELEASE_MS = 5 * 60 * 1000;

/** The picture cannot be recorded; `hint` says what to do. */
export class NoRecording extends Error {
  /** @param {string} code @param {string} message @param {string} hint */
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** Words an error of the recording for people. @param {unknown} error @returns {NoRecording} */
function explain(error) {
  if (error instanceof NoRecording) return error;
  const name = error instanceof Error ? error.name : "";
  if (name === "QuotaExceededError")
    return new NoRecording("disk_full", "The disk is full", "What was recorded until now is among your downloads.");
  return new NoRecording("recording_failed", "The recording stopped", error instanceof Error ? error.message : String(error));
}

/** Returns the best type that this browser can record. @returns {string | undefined} */
export const recordedType = () =>
  typeof MediaRecorder === "undefined" ? undefined : TYPES.find((type) => MediaRecorder.isTypeSupported(type));

export class Recorder {
  /** @type {RecorderState} */
  state = "idle";
  #began_ms = 0;
  /** @type {MediaRecorder | null} */
  #recorder = null;
  #mixer = new Mixer();
  #on;

  /**
   * @param {object} on
   * @param {(state: RecorderState) => void} on.change
   * @param {(file: {name: string, bytes: number, seconds: number}) => void} on.saved
   * @param {(error: NoRecording) => void} on.failed
   */
  constructor(on) {
    this.#on = on;
  }

  /** How long the recording is, in seconds. @returns {number} */
  get seconds() {
    return this.state === "recording" || this.state === "saving" ? (performance.now() - this.#began_ms) / 1000 : 0;
  }

  /** Takes the sound for a recording that began without one. @param {MediaStreamTrack | null} track @returns {void} */
  sound(track) {
    this.#mixer.input(track);
  }

  /**
   * Begins a recording.
   * @param {MediaStreamTrack | null} picture lives as long as the recording
   * @param {MediaStreamTrack | null} sound as well; null: there is none yet
   * @param {MediaTrackSettings} [source] of the camera, whose size the picture is going to have @returns {Promise<void>}
   */
  async start(picture, sound, source) {
    if (this.state !== "idle") return;
    this.#set("starting");
    /** @type {Spool | null} */
    let spool = null;
    try {
      const type = recordedType();
      if (!type) throw new NoRecording("no_recorder", "This browser cannot record", "Use a current Chrome, Edge, Firefox or Safari.");
      if (!picture || picture.readyState === "ended")
        throw new NoRecording("no_picture", "There is no relit picture to record", "Turn your camera on first.");
      const name = fileName(type.startsWith("video/mp4") ? "mp4" : "webm");
      spool = await Spool.open();
      const size = sizeOf(picture.getSettings(), source);
      const steady = inOneSize(picture, size);
      const stream = new MediaStream([steady.track, sound ?? this.#mixer.open()]);
      await this.#record(spool, stream, size.width * size.height, type, name).finally(steady.stop);
    } catch (error) {
      this.#mixer.close();
      this.#recorder = null;
      await spool?.discard();
      this.#set("idle");
      this.#on.failed(explain(error));
    }
  }

  /** Ends the recording and saves it. @returns {void} */
  stop() {
    if (this.#recorder?.state === "recording") this.#recorder.stop();
  }

  /**
   * Records until the recorder stops, by our wish, an error or the end of a track; then saves what there is.
   * @param {Spool} spool @param {MediaStream} stream @param {number} pixels of a picture @param {string} type @param {string} name
   * @returns {Promise<void>}
   */
  async #record(spool, stream, pixels, type, name) {
    const options = {
      mimeType: type,
      videoBitsPerSecond: pixels >= LARGE_PX ? BITS_PER_S.large : BITS_PER_S.small,
      audioBitsPerSecond: BITS_PER_S.sound,
      videoKeyFrameIntervalDuration: KEY_FRAME_MS, // Chromium's; other browsers leave it out of account
    };
    const recorder = new MediaRecorder(stream, options);
    this.#recorder = recorder;
    /** @type {unknown} */
    let problem = null;
    const fail = (/** @type {unknown} */ error) => {
      problem ??= error;
      this.stop();
    };
    recorder.addEventListener("dataavailable", ({ data }) => data.size && spool.write(data).catch(fail));
    recorder.addEventListener("error", (event) => fail(Reflect.get(event, "error")));
    const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.start(PART_MS);
    this.#began_ms = performance.now(); // Chromium's own "start" comes with the first part
    this.#set("recording");
    await stopped;
    const seconds = this.seconds;
    this.#set("saving");
    this.#recorder = null;
    this.#mixer.close();
    const file = await spool.finish(type.split(";")[0]);
    if (file.size) {
      const release = save(file, name);
      window.setTimeout(() => {
        release();
        spool.discard();
      }, RELEASE_MS);
    } else {
      problem ??= new NoRecording("nothing_recorded", "Nothing was recorded", "No relit picture came in that time.");
      await spool.discard();
    }
    this.#set("idle");
    if (file.size) this.#on.saved({ name, bytes: file.size, seconds });
    if (problem) this.#on.failed(explain(problem));
  }

  /** @param {RecorderState} state */
  #set(state) {
    this.state = state;
    this.#on.change(state);
  }
}

/** Gives a recording that begins without a sound a track of its own: a recorder ends when a track is added. */
class Mixer {
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {MediaStreamAudioDestinationNode | null} */
  #destination = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;

  /** @param {MediaStreamTrack | null} track @returns {void} */
  input(track) {
    this.#track = track;
    this.#connect();
  }

  /** @returns {MediaStreamTrack} silent until there is an input */
  open() {
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#destination = this.#context.createMediaStreamDestination();
    // Without any source the track gives nothing, not even silence, and the recorder would wait for it.
    const silence = this.#context.createConstantSource();
    silence.offset.value = 0;
    silence.connect(this.#destination);
    silence.start();
    this.#connect();
    return this.#destination.stream.getAudioTracks()[0];
  }

  /** @returns {void} */
  close() {
    this.#context?.close();
    this.#context = this.#destination = this.#source = null;
  }

  #connect() {
    this.#source?.disconnect();
    this.#source = null;
    if (!this.#context || !this.#destination || !this.#track) return;
    this.#source = this.#context.createMediaStreamSource(new MediaStream([this.#track]));
    this.#source.connect(this.#destination);
  }
}
