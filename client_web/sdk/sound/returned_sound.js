// @ts-check
// The sound that the server sends back: it is taken from the connection before the browser's jitter buffer, decoded here, and read so
// that each sample is heard when the picture that belongs to it is seen. RTP timestamps tell which samples these are.

import { DelayFollower, median } from "./delay_follower.js";
import { SampleLine } from "./sample_line.js";

/** Opus in RTP, and what comes out of here. */
export const RATE_HZ = 48000;
/** @typedef {{rtp: number, at_s: number}} Heard sound with this RTP timestamp is to be heard then */

const LONGEST_S = 2;
/** Without a word of when: sound is heard so long after it has come. */
const USUAL_S = 0.03;
const STEP_S = 0.012;
const TOLERANCE_S = 0.002;
/**
 * Packets, of 20 ms, whose arrival says how early sound can be heard: not before nearly all of them have come and are decoded. Those that
 * come at once after a stall count as one: waiting for the next stall would put the sound out of step for seconds.
 */
const ARRIVALS = 100;
const NEARLY_ALL = 0.95;
const BURST_S = 0.005;
const DECODE_S = 0.005;
/** Of 10 ms: what dates the sound that goes out. */
const DATES = 50;

export class ReturnedSound {
  #channels;
  #line;
  #decoder = /** @type {AudioDecoder | null} */ (null);
  /** Places of the packets that are in the decoder. @type {number[]} */
  #places = [];
  /** The newest packet: its RTP timestamp, and its place, which does not wrap. @type {{rtp: number, place: number} | null} */
  #newest = null;
  /** @type {Heard | null} */
  #heard = null;
  /** When sample 0 would have come, as each packet says. @type {number[]} */
  #came = [];
  #last_s = -Infinity;
  /** Of sound without timestamps: when its first sample came, without jitter. */
  #arrivals = new DelayFollower();
  /** Samples that went out so far. */
  #sent = 0;
  /** When sample 0 would have gone out, as each chunk says. @type {number[]} */
  #dates = [];

  /** @param {number} channels */
  constructor(channels) {
    this.#channels = channels;
    this.#line = new SampleLine(channels, RATE_HZ, LONGEST_S);
  }

  /** Says when a sound is to be heard, and so all of it. @param {Heard} heard @returns {void} */
  hear(heard) {
    if (!this.#arrivals.settled) this.#heard = heard; // else its timestamps are not known
  }

  /** Takes a packet. @param {RTCEncodedAudioFrame} packet @param {number} now_s @returns {void} */
  packet(packet, now_s) {
    const rtp = packet.getMetadata().rtpTimestamp ?? 0;
    const place = this.#newest ? this.#newest.place + ((rtp - this.#newest.rtp) | 0) : 0;
    if (this.#newest && place <= this.#newest.place) return; // overtaken: silence was heard for it
    this.#newest = { rtp, place };
    this.#heard ??= { rtp, at_s: now_s + USUAL_S };
    if (now_s - this.#last_s > BURST_S) this.#came.push(now_s - place / RATE_HZ); // the first of a burst is the latest
    this.#last_s = now_s;
    if (this.#came.length > ARRIVALS) this.#came.shift();
    if (!this.#decoder || this.#decoder.state === "closed") this.#decoder = this.#open();
    this.#places.push(place);
    const timestamp = Math.round((place / RATE_HZ) * 1e6);
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet.data }));
  }

  /** Takes sound that the browser has decoded, and paced: it is heard soon. @param {AudioData} sound @param {number} now_s @returns {void} */
  samples(sound, now_s) {
    const place = this.#newest?.place ?? 0;
    this.#arrivals.picture(now_s - place / RATE_HZ, now_s);
    this.#newest = { rtp: (place + sound.numberOfFrames) | 0, place: place + sound.numberOfFrames };
    this.#heard = { rtp: place | 0, at_s: this.#arrivals.delay_s + place / RATE_HZ + USUAL_S };
    this.#places.push(place);
    this.#decoded(sound);
  }

  /**
   * Gives the sound that goes out now.
   * @param {number} frames as many as have passed since the last one @param {number} now_s @returns {Float32Array<ArrayBuffer>} one plane after the other
   */
  read(frames, now_s) {
    const data = new Float32Array(this.#channels * frames);
    this.#date(now_s - (this.#sent + frames) / RATE_HZ);
    this.#follow();
    const planes = Array.from({ length: this.#channels }, (_, i) => data.subarray(i * frames, (i + 1) * frames));
    this.#line.read(planes, this.#sent);
    this.#sent += frames;
    return data;
  }

  /** @returns {void} */
  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
  }

  #open() {
    this.#places = [];
    const decoder = new AudioDecoder({ output: (sound) => this.#decoded(sound), error: () => {} }); // the next packet opens another
    decoder.configure({ codec: "opus", sampleRate: RATE_HZ, numberOfChannels: this.#channels });
    return decoder;
  }

  /** @param {AudioData} sound one packet's; its timestamp only counts what was decoded, through lost packets too */
  #decoded(sound) {
    const place = this.#places.shift();
    const planes = Array.from({ length: this.#channels }, (_, channel) => {
      const plane = new Float32Array(sound.numberOfFrames);
      sound.copyTo(plane, { planeIndex: Math.min(channel, sound.numberOfChannels - 1), format: "f32-planar" });
      return plane;
    });
    sound.close();
    if (place !== undefined) this.#line.write(planes, place);
  }

  /** @param {number} start_s */
  #date(start_s) {
    this.#dates.push(start_s);
    if (this.#dates.length > DATES) this.#dates.shift();
  }

  /** When sample 0 could have been heard at the earliest. */
  get #earliest_s() {
    const sorted = [...this.#came].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(NEARLY_ALL * (sorted.length - 1))] + DECODE_S : -Infinity;
  }

  #follow() {
    if (!this.#heard || !this.#newest) return;
    const place = this.#newest.place + ((this.#heard.rtp - this.#newest.rtp) | 0);
    // A picture that is there before its sound is less bad than silence.
    const zero_s = Math.max(this.#heard.at_s - place / RATE_HZ, this.#earliest_s);
    const delay = (zero_s - median(this.#dates)) * RATE_HZ;
    const off_s = Math.abs(delay - this.#line.delay) / RATE_HZ;
    if (off_s > STEP_S) this.#line.jumpTo(Math.round(delay));
    else if (off_s > TOLERANCE_S) this.#line.glideTo(Math.round(delay));
  }
}
