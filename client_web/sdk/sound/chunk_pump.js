// @ts-check
// Reads the microphone in chunks and writes one for each: the microphone's own sound, delayed, or what the server sent back. It runs in
// a worker, whose timing a busy page does not disturb, or in the page.

import { ChunkLine } from "./chunk_line.js";
import { RATE_HZ, ReturnedSound } from "./returned_sound.js";

/** @typedef {"own" | "returned"} Name the microphone, or what the server sent back */
/** @typedef {{how: "jump" | "glide", delay_s: number}} Change */
/** @typedef {import("./returned_sound.js").Heard} Heard by this machine's clock (s since 1970), which a page and its worker share */

export class ChunkPump {
  /** @type {WritableStreamDefaultWriter<AudioData>} */
  #writer;
  /** @type {ReadableStreamDefaultReader<AudioData> | null} */
  #reader = null;
  /** @type {ReadableStreamDefaultReader<RTCEncodedAudioFrame | AudioData> | null} */
  #packets = null;
  /** @type {ChunkLine | null} */
  #line = null;
  /** @type {ReturnedSound | null} */
  #returned = null;
  #form = "";
  #channels = 1;
  #delay_s = 0;
  /** @type {Heard | null} */
  #at = null;
  /** Samples of the microphone that became samples of the returned sound; a fraction is left over where their rates differ. */
  #left = 0;
  /** @type {Name} */
  #heard = "own";
  /** @type {Name} */
  #wanted = "own";
  #rises = false;

  /** @param {WritableStream<AudioData>} writable */
  constructor(writable) {
    this.#writer = writable.getWriter();
  }

  /** Takes the microphone from here from now on. @param {ReadableStream<AudioData> | null} readable @returns {void} */
  read(readable) {
    this.#reader?.cancel().catch(() => {});
    this.#reader = readable?.getReader() ?? null;
    if (this.#reader) this.#run(this.#reader).catch(() => {}); // cancelled, or the track has ended
  }

  /**
   * Takes the server's sound from here from now on: its packets, or where the browser keeps those, what it made of them.
   * @param {ReadableStream<RTCEncodedAudioFrame | AudioData> | null} readable @returns {void}
   */
  receive(readable) {
    this.#packets?.cancel().catch(() => {});
    this.#returned?.close();
    this.#returned = this.#at = null;
    this.#packets = readable?.getReader() ?? null;
    if (this.#packets) this.#decode(this.#packets).catch(() => {}); // cancelled, or the connection was closed
  }

  /** Lets one sound be heard in place of the other. @param {Name} name @returns {void} */
  hear(name) {
    this.#wanted = name;
  }

  /** @param {Change} change @returns {void} */
  follow({ how, delay_s }) {
    this.#delay_s = delay_s;
    if (how === "jump") this.#line?.jumpTo(delay_s);
    else this.#line?.glideTo(delay_s);
  }

  /** Says when a returned sound is to be heard. @param {Heard} heard @returns {void} */
  match(heard) {
    this.#at = heard;
    this.#returned?.hear(heard);
  }

  /** @returns {void} */
  stop() {
    this.read(null);
    this.receive(null);
    this.#writer.close().catch(() => {});
  }

  /** @param {ReadableStreamDefaultReader<AudioData>} reader */
  async #run(reader) {
    for (;;) {
      const { value: chunk, done } = await reader.read();
      if (done) return;
      if (reader === this.#reader) this.#arrive(chunk);
      else chunk.close();
    }
  }

  /** @param {ReadableStreamDefaultReader<RTCEncodedAudioFrame | AudioData>} reader */
  async #decode(reader) {
    for (;;) {
      const { value: sound, done } = await reader.read();
      if (done || reader !== this.#packets) return;
      if (this.#form) this.#take(sound);
      else if (sound instanceof AudioData) sound.close(); // nothing goes out yet
    }
  }

  /** @param {RTCEncodedAudioFrame | AudioData} sound */
  #take(sound) {
    if (!this.#returned) {
      this.#returned = new ReturnedSound(this.#channels);
      if (this.#at) this.#returned.hear(this.#at);
    }
    if (sound instanceof AudioData) this.#returned.samples(sound, now_s());
    else this.#returned.packet(sound, now_s());
  }

  /** @param {AudioData} chunk of the microphone */
  #arrive(chunk) {
    const { numberOfChannels, numberOfFrames, sampleRate, timestamp } = chunk;
    const data = new Float32Array(numberOfChannels * numberOfFrames);
    const planes = split(data, numberOfChannels);
    planes.forEach((plane, planeIndex) => chunk.copyTo(plane, { planeIndex, format: "f32-planar" }));
    chunk.close();
    this.#lineFor(numberOfChannels, sampleRate).process(planes); // unheard too: what comes back is old
    const exact = (numberOfFrames * RATE_HZ) / sampleRate + this.#left;
    const frames = Math.floor(exact);
    this.#left = exact - frames;
    const returned = this.#returned?.read(frames, now_s());
    if (this.#heard === "returned" && returned) this.#write(returned, this.#channels, RATE_HZ, timestamp);
    else this.#write(data, numberOfChannels, sampleRate, timestamp);
  }

  /**
   * Writes a chunk of the sound that is heard; the last one fades out, the first one of the other fades in.
   * @param {Float32Array<ArrayBuffer>} data @param {number} channels @param {number} sampleRate @param {number} timestamp
   */
  #write(data, channels, sampleRate, timestamp) {
    const planes = split(data, channels);
    if (this.#rises) planes.forEach((plane) => ramp(plane, 0, 1));
    this.#rises = false;
    const next = this.#wanted === "returned" && this.#returned ? "returned" : "own";
    if (next !== this.#heard) {
      planes.forEach((plane) => ramp(plane, 1, 0));
      [this.#heard, this.#rises] = [next, true];
    }
    const init = { format: /** @type {const} */ ("f32-planar"), sampleRate, numberOfFrames: data.length / channels, numberOfChannels: channels };
    this.#writer.write(new AudioData({ ...init, timestamp, data })).catch(() => {});
  }

  /** @param {number} channels @param {number} rate_hz @returns {ChunkLine} a new one for another kind of microphone */
  #lineFor(channels, rate_hz) {
    const form = `${channels} ${rate_hz}`;
    if (form === this.#form && this.#line) return this.#line;
    this.#form = form;
    this.#channels = Math.min(2, channels); // as Opus has in a call
    this.#line = new ChunkLine(channels, rate_hz);
    this.#line.jumpTo(this.#delay_s);
    return this.#line;
  }
}

/** @returns {number} */
function now_s() {
  return (performance.timeOrigin + performance.now()) / 1000;
}

/** @param {Float32Array<ArrayBuffer>} data @param {number} channels @returns {Float32Array<ArrayBuffer>[]} a view of each plane */
function split(data, channels) {
  const frames = data.length / channels;
  return Array.from({ length: channels }, (_, i) => data.subarray(i * frames, (i + 1) * frames));
}

/** @param {Float32Array} samples changed in place @param {number} from @param {number} to */
function ramp(samples, from, to) {
  for (let i = 0; i < samples.length; i += 1) samples[i] *= from + ((to - from) * i) / samples.length;
}
