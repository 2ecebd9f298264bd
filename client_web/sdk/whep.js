// @ts-check
// Plays a session's relit picture and its sound by WHEP, and connects again, for as long as it takes, until it is closed.

/** @typedef {"connecting" | "live" | "waiting" | "refused"} WhepState */
/** @typedef {{code: string, message: string, hint: string}} Reason */

const RETRY_MS = 1000;
const LONGEST_RETRY_MS = 8000;
/** A refusal may end when somebody changes the server's tokens: the question costs little. */
const REFUSED_RETRY_MS = 30_000;
const GATHER_MS = 1000;
const POLL_MS = 500;
/** The server repeats a still picture once a second. */
const STALL_MS = 3000;
const FIRST_PICTURE_MS = 15_000;

const WAITING = { code: "not_live", message: "Waiting for the picture", hint: "Nobody is live under this link now." };
const LOST = { code: "connection_lost", message: "Connecting again", hint: "The connection was lost." };

export class WhepPlayer {
  /** @type {WhepState} */
  state = "connecting";
  #url;
  #options;
  #on;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** Address of our viewing on the server, which DELETE ends. */
  #resource = "";
  #attempts = 0;
  #timer = 0;
  #closed = false;

  /**
   * @param {string} url of the WHEP endpoint, https://…/whep/NAME
   * @param {object} options
   * @param {string} [options.token] @param {boolean} [options.sound] false asks for the picture alone
   * @param {() => Promise<RTCConfiguration>} [options.configuration] the ways that media may take
   * @param {object} on
   * @param {(stream: MediaStream) => void} on.stream a connection brings a stream of its own
   * @param {(state: WhepState, reason: Reason | null) => void} on.state
   */
  constructor(url, options, on) {
    this.#url = url;
    this.#options = options;
    this.#on = on;
    window.addEventListener("online", () => this.#timer && this.#connect());
    this.#connect();
  }

  /** Ends the viewing. @returns {void} */
  close() {
    this.#closed = true;
    this.#discard();
  }

  async #connect() {
    this.#discard();
    const { sound = true, configuration = async () => ({}) } = this.#options;
    if (this.state !== "waiting" && this.state !== "refused") this.#set("connecting", null);
    /** @type {RTCPeerConnection | null} */
    let pc = null;
    try {
      pc = new RTCPeerConnection(await configuration().catch(() => ({})));
      if (this.#closed) return pc.close();
      this.#pc = pc;
      const stream = new MediaStream();
      pc.addTransceiver("video", { direction: "recvonly" });
      if (sound) pc.addTransceiver("audio", { direction: "recvonly" });
      pc.addEventListener("track", ({ track }) => stream.addTrack(track));
      await pc.setLocalDescription();
      await gathered(pc);
      const answer = await this.#post(pc.localDescription?.sdp ?? "");
      if (pc !== this.#pc) return;
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
      this.#on.stream(stream);
      this.#watch(pc);
    } catch (error) {
      if (pc !== this.#pc) return;
      this.#retry(error instanceof Refusal ? error.reason : LOST);
    }
  }

  /** @param {string} sdp @returns {Promise<string>} the answer; rejects with Refusal */
  async #post(sdp) {
    const headers = new Headers({ "content-type": "application/sdp", ...this.#credentials() });
    const response = await fetch(this.#url, { method: "POST", headers, body: sdp });
    if (response.status === 201) {
      this.#resource = new URL(response.headers.get("location") ?? this.#url, this.#url).href;
      return response.text();
    }
    if (response.status === 404) throw new Refusal(WAITING);
    const problem = await response.json().catch(() => ({}));
    throw new Refusal({
      code: problem.code ?? `http_${response.status}`,
      message: problem.message ?? `The server refused (HTTP ${response.status})`,
      hint: problem.hint ?? "",
    });
  }

  #credentials() {
    /** @type {Record<string, string>} */
    const headers = this.#options.token ? { authorization: `Bearer ${this.#options.token}` } : {};
    return headers;
  }

  /**
   * Connects again when nothing arrives for a while. Packets are counted, not pictures, which a hidden page may not decode; and
   * Chromium does not say that the other side closed the connection.
   * @param {RTCPeerConnection} pc
   */
  async #watch(pc) {
    let [frames, packets] = [0, 0];
    let since = performance.now();
    while (pc === this.#pc) {
      const before = packets;
      for (const stat of (await pc.getStats()).values())
        if (stat.type === "inbound-rtp" && stat.kind === "video") [frames, packets] = [stat.framesDecoded ?? 0, stat.packetsReceived ?? 0];
      if (pc !== this.#pc) return;
      if (packets !== before) since = performance.now();
      if (frames && this.state !== "live") {
        this.#attempts = 0;
        this.#set("live", null);
      }
      const patience_ms = frames ? STALL_MS : FIRST_PICTURE_MS;
      if (pc.connectionState === "failed" || performance.now() - since > patience_ms) return this.#retry(LOST);
      await new Promise((next) => setTimeout(next, POLL_MS));
    }
  }

  /** @param {Reason} reason */
  #retry(reason) {
    this.#discard();
    if (this.#closed) return;
    const refused = ["unauthorized", "forbidden", "foreign_origin"].includes(reason.code);
    const pause_ms = refused ? REFUSED_RETRY_MS : Math.min(LONGEST_RETRY_MS, RETRY_MS * 1.5 ** this.#attempts);
    this.#attempts += 1;
    this.#set(refused ? "refused" : "waiting", reason);
    // Random pauses keep many viewers from coming back at the same moment.
    this.#timer = window.setTimeout(() => this.#connect(), pause_ms * (0.75 + Math.random() / 2));
  }

  #discard() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#pc?.close();
    this.#pc = null;
    // keepalive: the request outlives the page, and the place on the server is free at once.
    if (this.#resource) fetch(this.#resource, { method: "DELETE", headers: this.#credentials(), keepalive: true }).catch(() => {});
    this.#resource = "";
  }

  /** @param {WhepState} state @param {Reason | null} reason */
  #set(state, reason) {
    this.state = state;
    this.#on.state(state, reason);
  }
}

/** The server answered, and not with a picture. */
class Refusal extends Error {
  /** @param {Reason} reason */
  constructor(reason) {
    super(reason.message);
    this.reason = reason;
  }
}

/** Waits until the offer has its candidates, or long enough. @param {RTCPeerConnection} pc @returns {Promise<void>} */
async function gathered(pc) {
  if (pc.iceGatheringState === "complete") return;
  const complete = new Promise((resolve) =>
    pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve(null)),
  );
  await Promise.race([complete, new Promise((resolve) => setTimeout(resolve, GATHER_MS))]);
}
