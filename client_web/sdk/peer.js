// @ts-check
// One WebRTC connection: it sends our picture and receives the relit one. It is closed together with its Channel.

import { scaleOf } from "./source_check.js";

/**
 * @typedef {{rtt_ms: number, jitter_ms: number, encode_ms: number, send_ms: number, decode_ms: number, frames: number, kbps: number}} NetworkReport
 */

/** VP8 comes first because it costs the server least. Browsers prefer VP9 or AV1, which the server does not know. */
const CODECS = ["video/vp8", "video/h264", "video/rtx"];
/**
 * Chromium starts at 300 kbit/s and takes up to half a minute to reach full size; networks fit for calls carry this rate at once.
 */
const START_KBPS = 1500;
const MAX_BITRATE = 2_000_000;
const MAX_BITRATE_LARGE = 3_500_000; // over LARGE_PX
const LARGE_PX = 900 * 600;
const FULL_PX_S = 640 * 480 * 30; // for MAX_BITRATE; fewer and smaller pictures get less, or the server has packets to handle that nobody sees
const SMALLER = 0.75; // exponent: details are lost slower than pixels are
/** Sides are rounded to whole pixels, and one too many would be scaled once more on the server. */
const ROUNDING = 1.005;

/**
 * Adds Chromium's own parameter for the first bitrate to an answer; other browsers ignore it.
 * @param {string} sdp @returns {string}
 */
export function withStartRate(sdp) {
  const parameter = `x-google-start-bitrate=${START_KBPS}`;
  return sdp.replace(/^a=rtpmap:(\d+) (?:VP8|H264)\/90000$/gim, (line, type) =>
    sdp.includes(`a=fmtp:${type} `) ? line : `${line}\r\na=fmtp:${type} ${parameter}`,
  ).replace(/^a=fmtp:\d+ .*packetization-mode.*$/gim, (line) => `${line};${parameter}`);
}

/**
 * The highest bitrate at which pictures are sent.
 * @param {number} pixels of one, as it is sent; 0 unknown @param {number} fps @returns {number} bits a second
 */
export function highestRate(pixels, fps) {
  if (pixels > LARGE_PX) return MAX_BITRATE_LARGE;
  const part = Math.min(1, (pixels * (fps || 30)) / FULL_PX_S);
  return Math.round(MAX_BITRATE * (part ** SMALLER || 1));
}

export class Peer {
  #pc;
  #transceiver;
  /** @type {RTCRtpTransceiver | null} */
  #sound = null;
  /** @type {RTCIceCandidateInit[]} */
  #pending = [];
  /** @type {Record<string, number>} */
  #last = {};
  /** @type {import("./relight.js").Cap | null} */
  #cap = null;

  /**
   * @param {object} options
   * @param {RTCConfiguration} options.configuration the ways that media may take
   * @param {MediaStreamTrack | null} options.sound sent along, and returned in step with the picture
   * @param {(receiver: RTCRtpReceiver) => void} options.onSound called at once with the receiver of the sound that will come back
   * @param {(track: MediaStreamTrack, receiver: RTCRtpReceiver) => void} options.onTrack
   * @param {(candidate: RTCIceCandidate | null) => void} options.onCandidate
   * @param {(why: string) => void} options.onLost
   */
  constructor({ configuration, sound, onSound, onTrack, onCandidate, onLost }) {
    this.#pc = new RTCPeerConnection(configuration);
    this.#transceiver = this.#pc.addTransceiver("video", { direction: "sendrecv" });
    const known = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
    const wanted = CODECS.flatMap((mime) => known.filter((codec) => codec.mimeType.toLowerCase() === mime));
    if (wanted.length) this.#transceiver.setCodecPreferences?.(wanted);
    if (sound) {
      this.#sound = this.#pc.addTransceiver(sound, { direction: "sendrecv" });
      onSound(this.#sound.receiver);
      const opus = RTCRtpReceiver.getCapabilities?.("audio")?.codecs.filter(({ mimeType }) => mimeType.toLowerCase() === "audio/opus");
      if (opus?.length) this.#sound.setCodecPreferences?.(opus); // what we decode ourselves
    }
    this.#pc.addEventListener("track", ({ track, receiver }) => {
      // No frame waits in the jitter buffer: in a call a stutter disturbs less than a delay.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      if ("playoutDelayHint" in receiver) Reflect.set(receiver, "playoutDelayHint", 0);
      onTrack(track, receiver);
    });
    this.#pc.addEventListener("icecandidate", ({ candidate }) => onCandidate(candidate));
    let disconnectTimer = 0;
    this.#pc.addEventListener("connectionstatechange", () => {
      clearTimeout(disconnectTimer);
      const state = this.#pc.connectionState;
      if (state === "failed") onLost("The connection failed.");
      // Nothing came for some seconds, or the address is gone. A new connection, with all that was chosen, is here sooner than this
      // one comes back by itself, as it may after a short hole.
      if (state === "disconnected") disconnectTimer = window.setTimeout(() => onLost("The connection was lost."), 1000);
    });
  }

  /**
   * Sends a track from now on, at the bitrate of its size.
   * @param {MediaStreamTrack | null} track @returns {Promise<void>}
   */
  async send(track) {
    if (this.#pc.signalingState === "closed") return;
    await this.#transceiver.sender.replaceTrack(track);
    await this.#configure();
  }

  /**
   * Sends no larger and no more pictures than the server handles.
   * @param {import("./relight.js").Cap | null} cap null: as large as they are @returns {Promise<void>}
   */
  async limit(cap) {
    if (JSON.stringify(cap) === JSON.stringify(this.#cap)) return;
    this.#cap = cap;
    if (this.#pc.signalingState !== "closed") await this.#configure();
  }

  async #configure() {
    const { track } = this.#transceiver.sender;
    const parameters = this.#transceiver.sender.getParameters();
    if (!parameters.encodings?.length) return;
    const { width = 0, height = 0, frameRate = 30 } = track?.getSettings() ?? {};
    const [encoding] = parameters.encodings;
    const cap = this.#cap;
    const capped = cap ? Math.sqrt((width * height) / (cap.width * cap.height)) * ROUNDING : 1;
    encoding.scaleResolutionDownBy = capped > ROUNDING ? Math.max(scaleOf(width, height), capped) : scaleOf(width, height);
    if (cap) encoding.maxFramerate = cap.fps;
    else delete encoding.maxFramerate;
    const scale = encoding.scaleResolutionDownBy;
    encoding.maxBitrate = highestRate((width * height) / scale ** 2, Math.min(frameRate, cap?.fps ?? frameRate));
    await this.#transceiver.sender.setParameters(parameters);
  }

  /** Sends this sound from now on; only a connection that began with sound can. @param {MediaStreamTrack | null} track @returns {Promise<void>} */
  async sendSound(track) {
    if (this.#pc.signalingState !== "closed") await this.#sound?.sender.replaceTrack(track);
  }

  /** Makes our offer. @returns {Promise<string>} SDP */
  async offer() {
    await this.#pc.setLocalDescription();
    return /** @type {RTCSessionDescription} */ (this.#pc.localDescription).sdp;
  }

  /** Applies the server's answer. @param {string} sdp @returns {Promise<void>} */
  async accept(sdp) {
    await this.#pc.setRemoteDescription({ type: "answer", sdp: withStartRate(sdp) });
    for (const candidate of this.#pending.splice(0)) await this.#pc.addIceCandidate(candidate);
  }

  /**
   * Adds a candidate of the server, after the answer where it comes before it.
   * @param {RTCIceCandidateInit | null} candidate @returns {Promise<void>}
   */
  async candidate(candidate) {
    if (!candidate) return;
    if (!this.#pc.remoteDescription) this.#pending.push(candidate);
    else await this.#pc.addIceCandidate(candidate);
  }

  /** Reads the browser's measurements: means since the last call. @returns {Promise<NetworkReport>} */
  async report() {
    const report = { rtt_ms: 0, jitter_ms: 0, encode_ms: 0, send_ms: 0, decode_ms: 0, frames: 0, kbps: 0 };
    if (this.#pc.connectionState === "closed") return report;
    const mean = (/** @type {string} */ key, /** @type {number} */ total, /** @type {number} */ count) => {
      const value = ((total - (this.#last[key] ?? 0)) / (count - (this.#last[`${key}#`] ?? 0))) * 1000;
      this.#last[key] = total;
      this.#last[`${key}#`] = count;
      return Number.isFinite(value) ? Math.max(0, value) : 0;
    };
    for (const stat of (await this.#pc.getStats()).values()) {
      if (stat.type === "candidate-pair" && stat.nominated && stat.currentRoundTripTime !== undefined)
        report.rtt_ms = stat.currentRoundTripTime * 1000;
      if (stat.type === "inbound-rtp" && stat.kind === "video") {
        report.jitter_ms = mean("jitter", stat.jitterBufferDelay ?? 0, stat.jitterBufferEmittedCount ?? 0);
        report.decode_ms = mean("decode", stat.totalDecodeTime ?? 0, stat.framesDecoded ?? 0);
        report.frames = stat.framesDecoded ?? 0;
        report.kbps = (mean("bytes", stat.bytesReceived ?? 0, stat.timestamp) * 8) / 1000;
      }
      if (stat.type === "outbound-rtp" && stat.kind === "video") {
        report.encode_ms = mean("encode", stat.totalEncodeTime ?? 0, stat.framesEncoded ?? 0);
        report.send_ms = mean("send", stat.totalPacketSendDelay ?? 0, stat.packetsSent ?? 0);
      }
    }
    return report;
  }

  /** @returns {void} */
  close() {
    this.#pc.close();
  }
}
