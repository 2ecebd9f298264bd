// @ts-check
// The picture: the relit video over the local one, and what is said on top of it. The local picture shows through
// whenever the relit one is not there, so the stage is never empty.

import { find, write } from "./dom.js";

/** @typedef {import("./link.js").LinkState} LinkState */
/** @typedef {import("./source.js").Picture} Picture */
/** @typedef {import("./protocol.js").Stats} Stats */

const COACHING = {
  ok: "",
  no_face: "Looking for your face",
  move_closer: "Move a little closer",
  turn_to_camera: "Turn to the camera",
};

export class Stage {
  #stage = find("#stage");
  #local = /** @type {HTMLVideoElement} */ (find("#local"));
  #remote = /** @type {HTMLVideoElement} */ (find("#remote"));
  /** @type {LinkState} */
  #link = "connecting";
  /** @type {Picture | null} */
  #picture = null;
  /** @type {Stats | null} */
  #stats = null;
  #paused = false;
  #avatar = false;
  #framing = false;

  constructor() {
    for (const video of [this.#local, this.#remote]) {
      for (const event of ["loadedmetadata", "resize"]) video.addEventListener(event, () => this.#shape());
    }
  }

  /** @param {Picture} picture */
  source(picture) {
    this.#picture = picture;
    if (this.#local.srcObject !== picture.stream) this.#local.srcObject = picture.stream;
    if (picture.stream) this.#local.play().catch(() => {}); // a newer source interrupts the older one's start
    this.#stage.dataset.source = picture.kind;
    const { kind, why, asking } = picture;
    const [title, text] = asking
      ? ["Allow your camera", "Your browser is asking. Until then, here is how it will look."]
      : kind === "off"
        ? ["Your camera is off", "Nothing is sent."]
        : why
          ? [why.message, why.hint]
          : ["Sample portrait", ""];
    find("#note").hidden = kind === "camera";
    write(find("#note-title"), title);
    write(find("#note-text"), text);
    find("#note-text").hidden = !text;
    find("#use-camera").hidden = asking || why?.code === "insecure_origin";
    write(find("#use-camera"), kind === "off" ? "Start camera" : why ? "Try again" : "Use my camera");
    find("#use-sample").hidden = kind !== "off";
    find("#credit").hidden = kind !== "sample";
    this.#say();
  }

  /** @param {MediaStream} stream */
  relit(stream) {
    this.#remote.srcObject = stream;
    this.#remote.play().catch(() => {});
  }

  /** @param {LinkState} link @param {string} [why] */
  link(link, why = "") {
    this.#link = link;
    this.#stage.dataset.link = link;
    if (link !== "live") this.#stats = null;
    this.#shape();
    find("#status").title = why;
    this.#say();
  }

  /** @param {Stats} stats */
  stats(stats) {
    this.#stats = stats;
    this.#say();
  }

  /** @param {boolean} mirrored */
  mirror(mirrored) {
    this.#local.classList.toggle("mirrored", mirrored);
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.#paused = paused;
    this.#say();
  }

  /** @param {boolean} on */
  avatar(on) {
    if (on === this.#avatar) return;
    this.#avatar = on;
    find("#remote").setAttribute("aria-label", on ? "Your avatar" : "Your picture, relit");
    find("#pause").title = on ? "Pause: the avatar holds still (P)" : "Pause: the picture goes on untouched (P)";
    find("#split").title = on ? "The portrait beside its avatar (S)" : "Before and after side by side (S)";
    write(find("#side-before"), on ? "Portrait" : "Before");
    write(find("#side-after"), on ? "Avatar" : "After");
    write(find("#peek-name"), on ? "Peek" : "Original");
    this.#say();
  }

  /** The participant sets themselves in the frame of a snapshot. @param {boolean} on */
  framing(on) {
    this.#framing = on;
    this.#stage.classList.toggle("framing", on);
    this.#shape();
  }

  /** Show one's own camera for as long as a key or button is held; here alone, nobody is sent it. @param {boolean} on */
  peek(on) {
    this.#stage.classList.toggle("peek", on);
    find("#peek").classList.toggle("held", on);
  }

  #say() {
    const engine = this.#stats?.engine.state ?? "ok";
    const off = this.#picture?.kind === "off";
    const [tone, text] = off
      ? ["idle", "Off"]
      : this.#link === "connecting"
        ? ["busy", "Connecting…"]
        : this.#link === "reconnecting"
          ? ["warn", "Reconnecting…"]
          : this.#paused
            ? ["idle", "Paused"]
            : engine === "warming"
              ? ["busy", "Warming up…"]
              : engine === "behind"
                ? ["warn", "Catching up…"]
                : engine === "failed"
                  ? ["warn", this.#avatar ? "Trouble" : "Untouched picture"]
                  : ["live", "Live"];
    find("#status").dataset.tone = tone;
    write(find("#status-text"), text);
    const advice = this.#link === "live" && !off && !this.#paused ? COACHING[this.#stats?.face ?? "ok"] : "";
    write(find("#coach-text"), advice ?? "");
    find("#coach").classList.toggle("shown", Boolean(advice));
  }

  #shape() {
    const video = this.#link === "live" && this.#remote.videoWidth && !this.#framing ? this.#remote : this.#local;
    if (!video.videoWidth) return;
    this.#stage.style.setProperty("--aspect", String(video.videoWidth / video.videoHeight));
  }
}
