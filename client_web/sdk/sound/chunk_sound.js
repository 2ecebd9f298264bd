// @ts-check
// The one audio track that goes out, where the browser reads and writes sound as streams (Chromium): the microphone, held back as
// long as the picture takes, or what the server sent back. Unlike Web Audio it adds no delay of its own.

import { ChunkPump } from "./chunk_pump.js";
import { LONGEST_S } from "./chunk_line.js";
import { GLIDE } from "./sample_line.js";

/** @typedef {import("./delay_follower.js").Move} Move */
/**
 * @typedef {Pick<ChunkPump, "read" | "receive" | "hear" | "follow" | "match" | "stop"> & {worker?: Worker}} Pump
 * @typedef {import("./returned_sound.js").Heard} Heard
 */

const Processor = Reflect.get(globalThis, "MediaStreamTrackProcessor");
const Generator = Reflect.get(globalThis, "MediaStreamTrackGenerator");
const Transform = Reflect.get(globalThis, "RTCRtpScriptTransform");
/** Of 10 ms: what waits while the page or the worker is busy. */
const CHUNKS = 50;
/**
 * A connection dates its pictures by when they were captured, but the sound by when it had a chunk of it: what comes back is late by so
 * much (Chromium 156: 4 to 12 ms, another value in each connection).
 */
const DATED_LATE_S = 0.007;

export class ChunkSound {
  static supported = Boolean(Processor && Generator);
  #generator = new Generator({ kind: "audio" });
  /** @type {Promise<Pump>} */
  #pump = startPump(this.#generator.writable);
  /** Chromium brings a connection's sound to its readers only while an element plays it. */
  #pull = new Audio();
  /** @type {Worker | null} */
  #worker = null;
  /** Resolves once `prepare` may be called. @type {Promise<void>} */
  ready = this.#pump.then(({ worker }) => void (this.#worker = worker ?? null));
  /** The receiver whose packets come to us. @type {RTCRtpReceiver | null} */
  #prepared = null;
  #heard = { from_s: 0, to_s: 0, since_s: 0 };

  /** @returns {MediaStreamTrack} */
  get track() {
    return this.#generator;
  }

  /** Delay that is heard now, from track to track, s. @returns {number} */
  get delay_s() {
    const { from_s, to_s, since_s } = this.#heard;
    const most_s = GLIDE * (performance.now() / 1000 - since_s);
    return from_s + Math.min(most_s, Math.max(-most_s, to_s - from_s));
  }

  /** Never: this needs no AudioContext. @returns {boolean} */
  get blocked() {
    return false;
  }

  /** Takes the sound from this track from now on. @param {MediaStreamTrack | null} track @returns {void} */
  setSource(track) {
    const readable = track && chunksOf(track);
    this.#pump.then((pump) => pump.read(readable));
  }

  /**
   * Takes the packets of the server's sound out of a connection, where that can be done.
   * @param {RTCRtpReceiver} receiver made in this very task: later Chromium (156) does not let go of them @returns {void}
   */
  prepare(receiver) {
    if (!this.#worker || !Transform || !("AudioDecoder" in globalThis)) return;
    receiver.transform = new Transform(this.#worker, {});
    this.#prepared = receiver;
  }

  /**
   * Takes the sound that the server sends back.
   * @param {MediaStreamTrack | null} track @param {RTCRtpReceiver} [receiver] its own @returns {void}
   */
  setReturned(track, receiver) {
    const readable = !track || (receiver && receiver === this.#prepared) ? null : this.#readable(track);
    if (!track) this.#pull.srcObject = null;
    if (!track || readable) this.#pump.then((pump) => pump.receive(readable));
  }

  /** What the browser makes of a returned sound, in step as near as it keeps it itself. @param {MediaStreamTrack} track */
  #readable(track) {
    this.#pull.muted = true;
    this.#pull.srcObject = new MediaStream([track]);
    this.#pull.play().catch(() => {});
    return chunksOf(track);
  }

  /** Says when a returned sound is to be heard, by performance.now. @param {Heard} heard @returns {void} */
  match({ rtp, at_s }) {
    this.#pump.then((pump) => pump.match({ rtp, at_s: at_s - DATED_LATE_S + performance.timeOrigin / 1000 }));
  }

  /** Lets the server's sound be heard, or the microphone. @param {boolean} on @returns {void} */
  useReturned(on) {
    this.#pump.then((pump) => pump.hear(on ? "returned" : "own"));
  }

  /** @param {Move} move @returns {void} */
  follow({ how, delay_s }) {
    if (how === "stay") return;
    const to_s = Math.min(LONGEST_S, Math.max(0, delay_s));
    this.#heard = { from_s: how === "jump" ? to_s : this.delay_s, to_s, since_s: performance.now() / 1000 };
    this.#pump.then((pump) => pump.follow({ how, delay_s: to_s }));
  }

  /** @returns {void} */
  stop() {
    this.#pull.srcObject = null;
    this.#pump.then((pump) => pump.stop());
    this.#generator.stop();
  }
}

/** @param {MediaStreamTrack} track @returns {ReadableStream<AudioData>} */
function chunksOf(track) {
  return new Processor({ track, maxBufferSize: CHUNKS }).readable;
}

/** In a worker, or in the page where its policy forbids that. @param {WritableStream} writable @returns {Promise<Pump>} */
async function startPump(writable) {
  const worker = await startWorker();
  if (!worker) return new ChunkPump(writable);
  worker.postMessage(["start", writable], [writable]);
  return {
    worker,
    read: (readable) => worker.postMessage(["read", readable], readable ? [readable] : []),
    receive: (readable) => worker.postMessage(["receive", readable], readable ? [readable] : []),
    hear: (name) => worker.postMessage(["hear", name]),
    follow: (change) => worker.postMessage(["follow", change]),
    match: (heard) => worker.postMessage(["match", heard]),
    stop: () => {
      worker.postMessage(["stop"]);
      setTimeout(() => worker.terminate(), 100);
    },
  };
}

/** @returns {Promise<Worker | null>} */
async function startWorker() {
  const address = new URL("pump_worker.js", import.meta.url);
  // A worker must be of the page's own origin; a module it imports need not.
  const own = address.origin === location.origin;
  const source = new Blob([`import ${JSON.stringify(address.href)};`], { type: "text/javascript" });
  const url = own ? address.href : URL.createObjectURL(source);
  try {
    const worker = new Worker(url, { type: "module" });
    const ready = await new Promise((resolve) => {
      worker.addEventListener("message", () => resolve(true), { once: true });
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        resolve(false);
      });
    });
    return ready ? worker : null;
  } catch {
    return null;
  } finally {
    if (!own) URL.revokeObjectURL(url);
  }
}
