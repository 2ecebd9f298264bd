// @ts-check
// One relit camera: the SDK's stream under the participant's choices.

import { Relit } from "../../sdk/relit.js";
import { SERVER } from "./transport.js";

/** @typedef {Omit<import("../worker/settings.js").Settings, "server" | "token" | "microphone">} Choices */
/** @typedef {import("../../sdk/relight.js").Stats} Stats */

const KEYS = /** @type {const} */ (["light", "adjust", "strength", "original", "who", "avatar"]);

export class Camera {
  source;
  relit;
  #choices;
  /** @type {Stats | null} */
  #stats = null;
  /** @type {import("../../sdk/relight.js").Trouble | null} */
  #trouble = null;

  /**
   * @param {MediaStreamTrack} track @param {Choices} choices @param {import("../../sdk/relight.js").Transport} transport
   * @param {() => void} onChange called when the state changes
   */
  constructor(track, choices, transport, onChange) {
    const avatar = avatarOf(choices);
    const relit = new Relit(new MediaStream([track]), {
      server: SERVER,
      transport,
      sound: "none", // microphones are opened on their own, and led by this picture
      ...(avatar ? { avatar } : {}),
    });
    this.source = track;
    this.relit = relit;
    this.#choices = choices;
    this.#setLight();
    relit.on("state", (state) => {
      if (state === "live") this.#trouble = null;
      onChange();
    });
    relit.on("stats", (stats) => (this.#stats = stats));
    relit.on("trouble", (trouble) => {
      this.#trouble = trouble;
      onChange();
    });
  }

  /** @returns {MediaStreamTrack} */
  get track() {
    return this.relit.getVideoTracks()[0];
  }

  /** @param {MediaStreamTrack} track @returns {void} */
  replace(track) {
    this.source = track;
    this.relit.replaceSource(new MediaStream([track]));
  }

  /** Follows new choices. @param {Choices} choices @returns {void} */
  apply(choices) {
    const before = this.#choices;
    this.#choices = choices;
    const changed = new Set(KEYS.filter((key) => JSON.stringify(choices[key]) !== JSON.stringify(before[key])));
    if (["light", "adjust", "strength", "original"].some((key) => changed.has(/** @type {any} */ (key)))) this.#setLight();
    if (changed.has("who") || changed.has("avatar")) this.relit.setAvatar(avatarOf(choices));
  }

  /** @returns {object} for the popup; `Report` of worker/main.js */
  report() {
    return {
      state: this.relit.state,
      delay: this.relit.delay,
      fps: this.#stats?.fps_out ?? 0,
      camera: this.source.label,
      face: this.#stats?.face ?? "ok",
      engine: this.#stats?.engine.message ?? "",
      trouble: this.#trouble,
    };
  }

  /** @returns {void} */
  stop() {
    this.relit.stop();
  }

  #setLight() {
    const { light, adjust, strength, original } = this.#choices;
    this.relit.setLight(light, adjust);
    this.relit.setStrength(original ? 0 : strength);
  }
}

/** @param {Choices} choices @returns {Blob | null} the portrait to be seen as; null: the camera */
function avatarOf({ who, avatar }) {
  if (who !== "avatar" || !avatar) return null;
  const [head, text] = avatar.url.split(",");
  const type = head.match(/^data:([^;]+)/)?.[1] ?? "image/jpeg";
  return new File([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))], avatar.name, { type });
}
