// @ts-check
// The stage shows the relit video over the local one, and the texts on top of both. The local picture is seen whenever there is
// no relit one, so the stage is never empty.

import { find, write } from "./dom.js";
import { waitingText } from "./waiting.js";

/** @typedef {import("./sdk/link.js").LinkState} LinkState */
/** @typedef {import("./source.js").Picture} Picture */
/** @typedef {import("./sdk/relight.js").Stats} Stats */

const ADVICE = {
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
  /** @type {import("./sdk/relight.js").Waiting | null} */
  #waiting = null;

  constructor() {
    for (const video of [this.#local, this.#remote]) {
      for (const event of ["loadedmetadata", "resize"]) video.addEventListener(event, () => this.#updateAspect());
    }
  }

  /** Shows the picture that is sent. @param {Picture} picture @returns {void} */
  source(picture) {
    this.#picture = picture;
    if (this.#local.srcObject !== picture.stream) this.#local.srcObject = picture.stream;
    if (picture.stream) this.#local.play().catch(() => {}); // rejects where a newer source interrupts it
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
    this.#renderStatus();
  }

  /** Shows the picture that comes back. @param {MediaStream} stream @returns {void} */
  relit(stream) {
    this.#remote.srcObject = stream;
    this.#remote.play().catch(() => {});
  }

  /** @param {LinkState} link @param {string} [why] @returns {void} */
  link(link, why = "") {
    this.#link = link;
    this.#stage.dataset.link = link;
    if (link !== "live") this.#stats = null;
    this.#updateAspect();
    find("#status").title = why;
    this.#renderStatus();
  }

  /** @param {Stats} stats @returns {void} */
  stats(stats) {
    this.#stats = stats;
    this.#renderStatus();
  }

  /** Tells of a place in line, over the untouched picture. @param {import("./sdk/relight.js").Waiting | null} waiting @returns {void} */
  waiting(waiting) {
    this.#waiting = waiting;
    this.#renderStatus();
  }

  /** Mirrors the local picture. @param {boolean} mirrored @returns {void} */
  mirror(mirrored) {
    this.#local.classList.toggle("mirrored", mirrored);
  }

  /** @param {boolean} paused @returns {void} */
  pause(paused) {
    this.#paused = paused;
    this.#renderStatus();
  }

  /** Words the labels for an avatar or for the participant's own picture. @param {boolean} on @returns {void} */
  avatar(on) {
    if (on === this.#avatar) return;
    this.#avatar = on;
    find("#remote").setAttribute("aria-label", on ? "Your avatar" : "Your picture, relit");
    find("#pause").title = on ? "Pause: the avatar holds still (P)" : "Pause: the picture goes on untouched (P)";
    find("#split").title = on ? "The portrait beside its avatar (S)" : "Before and after side by side (S)";
    write(find("#side-before"), on ? "Portrait" : "Before");
    write(find("#side-after"), on ? "Avatar" : "After");
    write(find("#peek-name"), on ? "Peek" : "Original");
    this.#renderStatus();
  }

  /** Shows the camera while the participant frames a snapshot. @param {boolean} on @returns {void} */
  framing(on) {
    this.#framing = on;
    this.#stage.classList.toggle("framing", on);
    this.#updateAspect();
  }

  /** Shows the camera while a key or button is held, on this page only. @param {boolean} on @returns {void} */
  peek(on) {
    this.#stage.classList.toggle("peek", on);
    find("#peek").classList.toggle("held", on);
  }

  #renderStatus() {
    const engine = this.#stats?.engine.state ?? "ok";
    const off = this.#picture?.kind === "off";
    const [tone, text] = off
      ? ["idle", "Off"]
      : this.#link === "connecting"
        ? ["busy", "Connecting…"]
        : this.#link === "waiting"
          ? ["busy", "In line"]
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
    const waiting = this.#waiting ? waitingText(this.#waiting) : "";
    const advice = waiting || (this.#link === "live" && !off && !this.#paused ? ADVICE[this.#stats?.face ?? "ok"] : "");
    write(find("#coach-text"), advice ?? "");
    find("#coach").classList.toggle("shown", Boolean(advice));
  }

  #updateAspect() {
    const video = this.#link === "live" && this.#remote.videoWidth && !this.#framing ? this.#remote : this.#local;
    if (!video.videoWidth) return;
    this.#stage.style.setProperty("--aspect", String(video.videoWidth / video.videoHeight));
  }
}
