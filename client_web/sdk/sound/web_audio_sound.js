// @ts-check
// The one audio track that goes out: the microphone, held back as long as the picture takes, or the sound the server sends back
// with its picture. It is made by Web Audio, so that it stays the same track whatever happens to its sources.

import { DelayLine } from "./delay_line.js";

/** @typedef {import("./delay_follower.js").Move} Move */

/** Web Audio itself holds sound back so long from track to track (Chromium 156: 12 to 32 ms). */
const PATH_S = 0.022;
const FADE_S = 0.015;

export class WebAudioSound {
  #context = silentContext();
  #destination = this.#context.createMediaStreamDestination();
  #line = new DelayLine(this.#context);
  #local = this.#context.createGain();
  #remote = this.#context.createGain();
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #returned = null;
  /** Chromium brings a connection's sound to Web Audio only while an element plays it. */
  #pull = new Audio();
  #usesReturned = false;
  ready = Promise.resolve();
  #resume = () => void this.#context.resume().catch(() => {});

  constructor() {
    this.#remote.gain.value = 0;
    this.#line.output.connect(this.#local).connect(this.#destination);
    this.#remote.connect(this.#destination);
    this.#pull.muted = true;
    // A page that nobody touched yet may not be allowed to begin.
    if (this.#context.state !== "running") this.#resume();
    for (const gesture of GESTURES) addEventListener(gesture, this.#resume, { capture: true });
    this.#context.addEventListener("statechange", () => {
      if (this.#context.state === "running") this.#forgetGestures();
    });
  }

  /** @returns {MediaStreamTrack} */
  get track() {
    return this.#destination.stream.getAudioTracks()[0];
  }

  /** True where the browser lets no sound through before the page is touched. @returns {boolean} */
  get blocked() {
    return this.#context.state === "suspended";
  }

  /** Takes the sound from this track from now on. @param {MediaStreamTrack | null} track @returns {void} */
  setSource(track) {
    this.#source?.disconnect();
    this.#source = track && this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source?.connect(this.#line.input);
  }

  /** Takes the sound that the server sends back. @param {MediaStreamTrack | null} track @returns {void} */
  setReturned(track) {
    this.#returned?.disconnect();
    const stream = track && new MediaStream([track]);
    this.#pull.srcObject = stream;
    if (stream) this.#pull.play().catch(() => {});
    this.#returned = stream && this.#context.createMediaStreamSource(stream);
    this.#returned?.connect(this.#remote);
  }

  /** The browser itself keeps a connection's sound in step with its picture. @returns {void} */
  prepare() {}

  /** @returns {void} */
  match() {}

  /** Lets the server's sound be heard, or the microphone. @param {boolean} on @returns {void} */
  useReturned(on) {
    if (on === this.#usesReturned) return;
    this.#usesReturned = on;
    const now_s = this.#context.currentTime;
    for (const [{ gain }, heard] of /** @type {const} */ ([[this.#remote, on], [this.#local, !on]])) {
      gain.cancelScheduledValues(0);
      gain.setTargetAtTime(heard ? 1 : 0, now_s, FADE_S / 3);
    }
  }

  /** Delay that is heard now, from track to track, s. @returns {number} */
  get delay_s() {
    return this.#line.delay_s + PATH_S;
  }

  /** @param {Move} move @returns {void} */
  follow({ how, delay_s }) {
    if (how === "jump") this.#line.jumpTo(delay_s - PATH_S);
    else if (how === "glide") this.#line.glideTo(delay_s - PATH_S);
  }

  /** @returns {void} */
  stop() {
    this.#forgetGestures();
    this.setSource(null);
    this.setReturned(null);
    this.track.stop();
    this.#context.close().catch(() => {});
  }

  #forgetGestures() {
    for (const gesture of GESTURES) removeEventListener(gesture, this.#resume, { capture: true });
  }
}

const GESTURES = ["pointerdown", "keydown"];

/** Needs no loudspeaker, where the browser can be told so. @returns {AudioContext} */
function silentContext() {
  const options = { latencyHint: /** @type {const} */ ("interactive") };
  try {
    return new AudioContext(/** @type {any} */ ({ ...options, sinkId: { type: "none" } }));
  } catch {
    return new AudioContext(options);
  }
}
