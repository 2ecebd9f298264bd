// @ts-check
// Me or an avatar: which engine follows from the choice, the portrait and what the server can run; and all that belongs
// to the avatar in the page. The server learns of an avatar engine only once it has the portrait.

import { showBadge } from "./badge.js";
import { PortraitCard } from "./card.js";
import { find, write } from "./dom.js";
import { Portrait } from "./portrait.js";
import { QualitySlider } from "./quality.js";
import { segments } from "./controls.js";
import { Snap } from "./snap.js";

/** @typedef {import("./protocol.js").EngineInfo} EngineInfo */
/** @typedef {import("./protocol.js").Stats} Stats */
/** @typedef {import("./store.js").Store} Store */

const AVATARS = ["lcvd", "avatar"]; // the better one first
const PLAIN = ["ratio", "passthrough"];
const ASK_AGAIN_MS = 4000;
const DEFAULT_FPS = 25; // of a camera that has not been measured yet

/** @param {EngineInfo} engine */
export const isAvatar = ({ needs_portrait }) => needs_portrait;

/** @param {boolean} staggered */
const modeOf = (staggered) => (staggered ? "staggered" : "window");

export class Avatar {
  /** @type {EngineInfo[]} */
  #engines = [];
  #default = "";
  /** Engines that were refused in this session. @type {Set<string>} */
  #refused = new Set();
  #told = false;
  #live = false;
  /** @type {Stats | null} */
  #stats = null;
  #fps = 0;
  #asked = -Infinity;
  #defaultQuality = "";
  #store;
  #tell;
  #stage;
  #portrait;
  #card;
  #slider;
  #snap;
  #who;

  /**
   * @param {Store} store
   * @param {(type: string, fields: Record<string, unknown>) => void} tell the server, last value wins
   * @param {import("./stage.js").Stage} stage
   */
  constructor(store, tell, stage) {
    this.#store = store;
    this.#tell = tell;
    this.#stage = stage;
    this.#portrait = new Portrait(() => this.update());
    this.#snap = new Snap({
      framing: (on) => stage.framing(on),
      keep: (photo) => this.#keep(() => this.#portrait.keep(photo, "Snapshot")),
      trouble: (error) => this.#portrait.refuse(error),
      over: () => this.#card.focus(),
    });
    this.#card = new PortraitCard({
      file: (file) => this.take(file),
      snap: () => {
        this.#portrait.forgive();
        this.#snap.start();
      },
      sample: () => this.#sample(),
      remove: () => {
        this.#portrait.remove();
        store.set({ portrait: "" });
      },
    });
    this.#slider = new QualitySlider({
      choose: (quality) => store.set({ quality }),
      stagger: (staggered) => {
        store.set({ staggered });
        this.#ask(this.#fps || DEFAULT_FPS); // every stop has another delay now
      },
    });
    this.#who = segments("#who", (who) => this.be(/** @type {"me" | "avatar"} */ (who)));
    if (store.now.portrait === "sample") this.#sample();
  }

  /** @param {"me" | "avatar"} who */
  be(who) {
    this.#snap.cancel();
    this.#store.set({ who });
  }

  get chosen() {
    return this.#store.now.who === "avatar";
  }

  /** A file as the portrait. @param {File} file */
  take(file) {
    return this.#keep(() => this.#portrait.take(file, file.name || "Picture"));
  }

  /** A portrait of one's own is forgotten with the tab, so only the sample is remembered. @param {() => Promise<boolean>} take */
  async #keep(take) {
    if (await take()) this.#store.set({ portrait: "" });
  }

  async #sample() {
    const response = await fetch(new URL("sample/portrait.jpg", import.meta.url)).catch(() => null);
    if (!response?.ok) return this.#portrait.refuse(new Error("The sample portrait could not be loaded"));
    if (await this.#portrait.take(await response.blob(), "Sample portrait")) this.#store.set({ portrait: "sample" });
  }

  /**
   * A new session: it gets the portrait before it gets our picture, so that no camera picture slips in between.
   * @param {import("./protocol.js").Welcome} welcome
   */
  async welcome(welcome) {
    this.#engines = welcome.engines;
    this.#default = welcome.engine;
    this.#refused.clear();
    this.#portrait.session(welcome.session);
    if (this.chosen) await this.#portrait.send();
    // Whoever wears an avatar is not shown by camera for want of an upload: rather no connection, until the next try.
    if (this.chosen && this.#portrait.held && !this.#portrait.ready)
      throw new Error(this.#portrait.error?.message ?? "The portrait could not be sent.");
    this.update();
  }

  /** @param {import("./link.js").LinkState} state */
  link(state) {
    this.#live = state === "live";
    if (this.#live) return this.update();
    this.#stats = null;
    if (state !== "connecting") this.#portrait.session("");
    this.update();
  }

  /** An engine the menu was asked for. @param {string} name */
  pick(name) {
    const engine = this.#engines.find((each) => each.name === name);
    this.#refused.delete(name);
    if (engine && isAvatar(engine)) this.#store.set({ who: "avatar", avatarEngine: name });
    else this.#store.set({ who: "me", engine: name });
  }

  /** The server said no. @param {string} type @param {Record<string, unknown>} fields what it was asked */
  refused(type, fields) {
    if (type === "set_avatar") this.#store.set({ staggered: false });
    if (type !== "set_engine") return;
    this.#refused.add(String(fields.engine));
    this.update();
  }

  /** What is promised for the settings the server now has. @param {import("./protocol.js").Prediction | null | undefined} predicted */
  promised(predicted) {
    this.#slider.promise(predicted ?? null);
  }

  /** @param {Stats} stats */
  stats(stats) {
    this.#stats = stats;
    const { engine } = stats;
    const running = engine.showing ?? engine.name;
    this.#slider.measured(running === "lcvd" ? stats.latency_ms.p50 : null);
    const fps = Math.max(5, Math.round(stats.fps_in / 5) * 5);
    const news = fps !== this.#fps || this.#slider.waiting;
    if (this.#wanted() === "lcvd" && news && performance.now() - this.#asked > ASK_AGAIN_MS) this.#ask(fps);
    this.#badge();
  }

  /** @param {number} fps of the camera: a window fills as fast as it */
  async #ask(fps) {
    this.#asked = performance.now();
    const { staggered } = this.#store.now;
    const response = await fetch(`api/avatar?fps=${fps}&mode=${modeOf(staggered)}`).catch(() => null);
    if (!response?.ok || staggered !== this.#store.now.staggered) return;
    const { qualities, default: standard, backend } = await response.json();
    this.#fps = fps;
    this.#defaultQuality = standard;
    this.#slider.list(qualities, backend);
    this.#slider.show(this.#store.now.quality || standard, this.#store.now.staggered);
  }

  /** @param {boolean} on whether the camera is what is sent */
  camera(on) {
    this.#card.camera(on);
    if (!on) this.#snap.cancel();
  }

  /** The engine that ought to run; "" as long as the server's own choice is not known. */
  #wanted() {
    const { who, engine, avatarEngine } = this.#store.now;
    const can = (/** @type {string} */ name, /** @type {boolean} */ avatar) =>
      this.#engines.some((each) => each.name === name && each.available && isAvatar(each) === avatar) && !this.#refused.has(name);
    const avatar = who === "avatar" && this.#portrait.ready ? [avatarEngine, ...AVATARS].find((name) => can(name, true)) : "";
    return avatar || ([engine, this.#default, ...PLAIN].find((name) => can(name, false)) ?? "");
  }

  /** Choices, portrait or server changed: all that follows from them. */
  update() {
    const { who, quality, staggered } = this.#store.now;
    const chosen = who === "avatar";
    if (chosen && !this.#portrait.ready && this.#portrait.state === "waiting") this.#portrait.send();
    const wanted = this.#wanted();
    if (wanted && (this.#told || wanted !== this.#default)) {
      this.#told = true;
      this.#tell("set_engine", { engine: wanted });
    }
    const lcvd = wanted === "lcvd";
    if (lcvd && (quality || staggered)) {
      const chosenQuality = quality || this.#defaultQuality;
      this.#tell("set_avatar", { ...(chosenQuality ? { quality: chosenQuality } : {}), mode: modeOf(staggered) });
    }
    if (lcvd && performance.now() - this.#asked > ASK_AGAIN_MS && this.#slider.waiting) this.#ask(this.#fps || DEFAULT_FPS);
    this.#slider.show(quality || this.#defaultQuality, staggered);

    this.#who.show(who);
    this.#stage.avatar(chosen && this.#isAvatar(wanted));
    find("#avatar-card").hidden = !chosen;
    find("#quality-block").hidden = !lcvd;
    this.#card.show(this.#portrait);
    write(find("#avatar-text"), this.#words(wanted));
    find("#avatar-text").title = this.#engines.find(({ name }) => name === "lcvd")?.reason ?? "";
    this.#badge();
  }

  /** @param {string} name */
  #isAvatar(name) {
    return this.#engines.some((each) => each.name === name && isAvatar(each));
  }

  /** @param {string} wanted */
  #words(wanted) {
    const known = this.#engines.filter(isAvatar);
    const able = known.filter(({ available }) => available);
    if (this.#engines.length && !able.length)
      return `This server cannot run avatars: ${known.find(({ reason }) => reason)?.reason || "none is installed"}`;
    if (!this.#portrait.held) return "A portrait that moves as you move, in the light you choose.";
    if (wanted !== "avatar") return "";
    const lcvd = able.some(({ name }) => name === "lcvd");
    return lcvd ? "A quick preview, made on the CPU." : "A quick preview, made on the CPU. The finer avatar (LCVD) is not installed on this server.";
  }

  #badge() {
    const engine = this.chosen && this.#live ? (this.#stats?.engine ?? null) : null;
    const mine = engine && !this.#isAvatar(engine.name);
    if (mine) showBadge({ ...engine, showing: "me", message: this.#portrait.held ? "" : "choose a portrait" });
    else showBadge(engine);
  }
}
