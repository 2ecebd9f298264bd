// @ts-check
// The parts of a call beside the picture: sound, recording, snapshot, picture-in-picture and the link for viewers.

import { find } from "./dom.js";
import { offerPictureInPicture } from "./pip.js";
import { RecordButton } from "./record_button.js";
import { linkForViewers } from "./links.js";
import { Share } from "./share.js";
import { saveSnapshot } from "./snapshot.js";
import { SoundCard } from "./sound_card.js";
import { trouble, troubleFrom } from "./trouble.js";

/** @typedef {import("./sdk/relit.js").Relit} Relit */

/** For this tab alone, and gone with it: a link that was given away once is not to show its owner next week. */
const KEY = "relight.viewing_key";

/** @returns {string} 128 random bits */
const newKey = () => crypto.getRandomValues(new Uint8Array(16)).reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "");

/** @param {string} name @returns {string | null} */
function kept(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null; // storage is refused
  }
}

/** @param {string} name @param {string} value */
function keep(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Storage is refused: the link ends with a reload.
  }
}

export class Call {
  #video = /** @type {HTMLVideoElement} */ (find("#remote"));
  #relit;
  #record;
  #sound;
  #share;
  /** @type {MediaStream | null} */
  #picture = null;
  /** @type {MediaStreamTrack | null} */
  #microphone = null;

  /** @param {import("./store.js").Store} store @param {Relit} relit @param {string} token empty: none */
  constructor(store, relit, token) {
    this.#relit = relit;
    this.#record = new RecordButton(relit, () => this.#picture, troubleFrom);
    this.#sound = new SoundCard(store, {
      track: (track) => {
        this.#microphone = track;
        this.#send();
      },
      error: troubleFrom,
    });
    let session = "";
    relit.on("welcome", (welcome) => (session = welcome.session));
    this.#share = new Share({
      signed: token ? () => linkForViewers(session, token) : null,
      sound: (on) => this.#shareSound(on),
      renew: () => this.#name(newKey()),
      error: troubleFrom,
    });
    relit.on("ack", ({ type, ack }) => type === "set_viewing_key" && this.#share.show(ack.view));
    this.#name(kept(KEY) ?? newKey());
    offerPictureInPicture("#pip", this.#video, troubleFrom);
    find("#snapshot").addEventListener("click", () => this.#snapshot().catch(troubleFrom));
  }

  /** Sends this picture, with the microphone where it is open. @param {MediaStream | null} picture @returns {void} */
  picture(picture) {
    this.#picture = picture;
    this.#send();
  }

  /** Goes on under the viewing name of this key, also after a lost connection or a reload. @param {string} key */
  #name(key) {
    keep(KEY, key);
    this.#relit.send("set_viewing_key", { key });
  }

  /** @param {boolean} on the server gets the sound, for viewers */
  #shareSound(on) {
    this.#relit.setSound(on ? "server" : "page");
    this.#share.sound(on);
    this.#sound.shared(on);
    if (on && !this.#microphone) this.#sound.toggle(); // nobody would hear anything
  }

  #send() {
    const picture = this.#picture;
    const sound = picture && this.#microphone ? [this.#microphone] : [];
    this.#relit.replaceSource(picture && new MediaStream([...picture.getVideoTracks(), ...sound]));
    const matched = sound.length ? (this.#relit.getAudioTracks()[0] ?? null) : null;
    this.#record.sound(matched);
    this.#sound.matched(matched);
  }

  async #snapshot() {
    const hint = "Wait until the picture is live, then try again.";
    if (!this.#picture || this.#relit.state !== "live") throw Object.assign(new Error("There is no relit picture now"), { code: "no_picture", hint });
    const { name, width, height } = await saveSnapshot(this.#video);
    trouble({ code: "snapshot", message: "Snapshot saved", hint: `${name}, ${width}×${height}, is among your downloads.` });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    find("#stage").animate?.({ filter: ["brightness(1.8)", "brightness(1)"] }, { duration: 320, easing: "ease-out" });
  }
}
