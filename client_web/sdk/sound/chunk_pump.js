// @ts-check
// Reads sounds in chunks, delays one's own, and writes the one that is to be heard. It runs in a worker, whose timing a busy page
// does not disturb, or in the page.

import { ChunkLine } from "./chunk_line.js";

/** @typedef {"own" | "returned"} Name the microphone, or what the server sent back */
/** @typedef {{how: "jump" | "glide", delay_s: number}} Change */

/** From one sound to the other: the last chunk of the one fades out, unless none comes for so long. */
const PATIENCE_MS = 60;

export class ChunkPump {
  /** @type {WritableStreamDefaultWriter<AudioData>} */
  #writer;
  /** @type {Map<Name, ReadableStreamDefaultReader<AudioData>>} */
  #readers = new Map();
  /** @type {ChunkLine | null} */
  #line = null;
  #form = "";
  #delay_s = 0;
  /** @type {Name} */
  #heard = "own";
  /** @type {Name} */
  #wanted = "own";
  #wantedSince_ms = 0;
  #rises = false;

  /** @param {WritableStream<AudioData>} writable */
  constructor(writable) {
    this.#writer = writable.getWriter();
  }

  /** Takes a sound from here from now on. @param {Name} name @param {ReadableStream<AudioData> | null} readable @returns {void} */
  read(name, readable) {
    this.#readers.get(name)?.cancel().catch(() => {});
    this.#readers.delete(name);
    if (!readable) return;
    const reader = readable.getReader();
    this.#readers.set(name, reader);
    this.#run(name, reader).catch(() => {}); // cancelled, or the track has ended
  }

  /** Lets one sound be heard in place of the other. @param {Name} name @returns {void} */
  hear(name) {
    if (name === this.#wanted) return;
    this.#wanted = name;
    this.#wantedSince_ms = performance.now();
  }

  /** @param {Change} change @returns {void} */
  follow({ how, delay_s }) {
    this.#delay_s = delay_s;
    if (how === "jump") this.#line?.jumpTo(delay_s);
    else this.#line?.glideTo(delay_s);
  }

  /** @returns {void} */
  stop() {
    this.read("own", null);
    this.read("returned", null);
    this.#writer.close().catch(() => {});
  }

  /** @param {Name} name @param {ReadableStreamDefaultReader<AudioData>} reader */
  async #run(name, reader) {
    for (;;) {
      const { value: chunk, done } = await reader.read();
      if (done) return;
      if (reader === this.#readers.get(name)) this.#arrive(name, chunk);
      else chunk.close();
    }
  }

  /** @param {Name} name @param {AudioData} chunk */
  #arrive(name, chunk) {
    const { numberOfChannels, numberOfFrames, sampleRate, timestamp } = chunk;
    const data = new Float32Array(numberOfChannels * numberOfFrames);
    const planes = Array.from({ length: numberOfChannels }, (_, i) => data.subarray(i * numberOfFrames, (i + 1) * numberOfFrames));
    planes.forEach((plane, planeIndex) => chunk.copyTo(plane, { planeIndex, format: "f32-planar" }));
    chunk.close();
    if (name === "own") this.#lineFor(numberOfChannels, sampleRate).process(planes); // unheard too: what comes back is old
    const silent = performance.now() - this.#wantedSince_ms > PATIENCE_MS;
    if (name !== this.#heard && !(name === this.#wanted && silent)) return;
    if (name === this.#wanted) {
      if (name !== this.#heard || this.#rises) planes.forEach((plane) => ramp(plane, 0, 1));
      [this.#heard, this.#rises] = [name, false];
    } else {
      planes.forEach((plane) => ramp(plane, 1, 0));
      [this.#heard, this.#rises] = [this.#wanted, true];
    }
    const delayed = new AudioData({ format: "f32-planar", sampleRate, numberOfFrames, numberOfChannels, timestamp, data });
    this.#writer.write(delayed).catch(() => {});
  }

  /** @param {number} channels @param {number} rate_hz @returns {ChunkLine} a new one for another kind of microphone */
  #lineFor(channels, rate_hz) {
    const form = `${channels} ${rate_hz}`;
    if (form === this.#form && this.#line) return this.#line;
    this.#form = form;
    this.#line = new ChunkLine(channels, rate_hz);
    this.#line.jumpTo(this.#delay_s);
    return this.#line;
  }
}

/** @param {Float32Array} samples changed in place @param {number} from @param {number} to */
function ramp(samples, from, to) {
  for (let i = 0; i < samples.length; i += 1) samples[i] *= from + ((to - from) * i) / samples.length;
}
