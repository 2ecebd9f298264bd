// @ts-check
// One WebRTC connection: our picture out, the relit picture in. It lives as long as its Channel and knows nothing of either's content.

/** @typedef {{rtt_ms: number, jitter_ms: number, encode_ms: number, decode_ms: number, frames: number, kbps: number}} NetworkReport */

/** VP8 first: the server's cheapest codec; what a browser would rather send (VP9, AV1) the server does not speak. */
const CODECS = ["video/vp8", "video/h264", "video/rtx"];
/** Chromium begins at 300 kbit/s and takes up to half a minute to reach full size; a call network takes this at once. */
const START_KBPS = 1500;
const MAX_BITRATE = { "480p": 2_000_000, "720p": 3_500_000 };

/** The answer with Chromium's own parameter for the first bitrate; other browsers ignore it. @param {string} sdp */
export function withStartRate(sdp) {
  const parameter = `x-google-start-bitrate=${START_KBPS}`;
  return sdp.replace(/^a=rtpmap:(\d+) (?:VP8|H264)\/90000$/gim, (line, type) =>
    sdp.includes(`a=fmtp:${type} `) ? line : `${line}\r\na=fmtp:${type} ${parameter}`,
  ).replace(/^a=fmtp:\d+ .*packetization-mode.*$/gim, (line) => `${line};${parameter}`);
}

export class Peer {
  #pc;
  #transceiver;
  /** @type {RTCIceCandidateInit[]} */
  #early = [];
  /** @type {Record<string, number>} */
  #last = {};

  /**
   * @param {object} options
   * @param {RTCIceServer[]} options.iceServers
   * @param {(stream: MediaStream) => void} options.onPicture
   * @param {(candidate: RTCIceCandidate | null) => void} options.onCandidate
   * @param {(why: string) => void} options.onLost
   */
  constructor({ iceServers, onPicture, onCandidate, onLost }) {
    this.#pc = new RTCPeerConnection({ iceServers });
    this.#transceiver = this.#pc.addTransceiver("video", { direction: "sendrecv" });
    const known = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
    const wanted = CODECS.flatMap((mime) => known.filter((codec) => codec.mimeType.toLowerCase() === mime));
    if (wanted.length) this.#transceiver.setCodecPreferences?.(wanted);
    this.#pc.addEventListener("track", ({ track, receiver }) => {
      // We show the newest frame at once: a face in a call may stutter, it may not lag.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      if ("playoutDelayHint" in receiver) Reflect.set(receiver, "playoutDelayHint", 0);
      onPicture(new MediaStream([track]));
    });
    this.#pc.addEventListener("icecandidate", ({ candidate }) => onCandidate(candidate));
    let patience = 0;
    this.#pc.addEventListener("connectionstatechange", () => {
      clearTimeout(patience);
      const state = this.#pc.connectionState;
      if (state === "failed") onLost("The connection failed.");
      // "disconnected" often heals by itself within a second or two (a lift, a change of Wi-Fi cell).
      if (state === "disconnected") patience = window.setTimeout(() => onLost("The connection was lost."), 3000);
    });
  }

  get connected() {
    return this.#pc.connectionState === "connected";
  }

  /** @param {MediaStreamTrack | null} track @param {"480p" | "720p"} size */
  async send(track, size) {
    if (this.#pc.signalingState === "closed") return;
    await this.#transceiver.sender.replaceTrack(track);
    const parameters = this.#transceiver.sender.getParameters();
    if (!parameters.encodings?.length) return;
    parameters.encodings[0].maxBitrate = MAX_BITRATE[size];
    await this.#transceiver.sender.setParameters(parameters);
  }

  /** @returns {Promise<string>} our offer's SDP */
  async offer() {
    await this.#pc.setLocalDescription();
    return /** @type {RTCSessionDescription} */ (this.#pc.localDescription).sdp;
  }

  /** @param {string} sdp */
  async accept(sdp) {
    await this.#pc.setRemoteDescription({ type: "answer", sdp: withStartRate(sdp) });
    for (const candidate of this.#early.splice(0)) await this.#pc.addIceCandidate(candidate);
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  async candidate(candidate) {
    if (!candidate) return;
    if (!this.#pc.remoteDescription) this.#early.push(candidate);
    else await this.#pc.addIceCandidate(candidate);
  }

  /** What this browser can measure; means since the last call. @returns {Promise<NetworkReport>} */
  async report() {
    const report = { rtt_ms: 0, jitter_ms: 0, encode_ms: 0, decode_ms: 0, frames: 0, kbps: 0 };
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
      if (stat.type === "inbound-rtp") {
        report.jitter_ms = mean("jitter", stat.jitterBufferDelay ?? 0, stat.jitterBufferEmittedCount ?? 0);
        report.decode_ms = mean("decode", stat.totalDecodeTime ?? 0, stat.framesDecoded ?? 0);
        report.frames = stat.framesDecoded ?? 0;
        report.kbps = (mean("bytes", stat.bytesReceived ?? 0, stat.timestamp) * 8) / 1000;
      }
      if (stat.type === "outbound-rtp")
        report.encode_ms = mean("encode", stat.totalEncodeTime ?? 0, stat.framesEncoded ?? 0);
    }
    return report;
  }

  close() {
    this.#pc.close();
  }
}
