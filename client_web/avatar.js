// @ts-check
// The choice between oneself and an avatar. The engine that should run follows from the choice, the portrait and what the
// server can run; this file sends it, and keeps the avatar's part of the panel up to date. The server is asked for an avatar
// engine only once it has the portrait.

import { showBadge } from "./badge.js";
import { PortraitCard } from "./card.js";
import { segments } from "./controls.js";
import { find, write } from "./dom.js";
import { Portrait } from "./portrait.js";
import { QualitySlider } from "./quality.js";
import { Snap } from "./snap.js";

/** @typedef {import("./engines.js").EngineList} EngineList */
/** @typedef {import("./protocol.js").AvatarOptions} AvatarOptions */
/** @typedef {import("./protocol.js").Stats} Stats */
/** @typedef {import("./store.js").Store} Store */

const FETCH_INTERVAL_MS = 4000;
const DEFAULT_FPS = 25; // of a camera that has not been measured yet

export class Avatar {
  /** The engine the server starts with. */
  #default = "";
  /** Engines that the server refused in this session. @type {Set<string>} */
  #refused = new Set();
  #engineSent = false;
  #settingsSent = false;
  #live = false;
  /** @type {Stats | null} */
  #stats = null;
  /** The camera's frame rate that the predictions on the page are for; 0 before the first ones. */
  #fps = 0;
  #fetchedAt = -Infinity;
  /** True for a new session: the server may have restarted with other weights. */
  #outdated = true;
  #defaultQuality = "";
  /** True where the server says that its weights were trained for the staggered mode. */
  #staggeredTrained = false;
  #store;
  #engines;
  #send;
  #stage;
  #portrait;
  #card;
  #slider;
  #snap;
  #who;

  /**
   * @param {Store} store
   * @param {EngineList} engines filled before `welcome` is called
   * @param {(type: string, fields: Record<string, unknown>) => void} send sends a message; the last value of a type wins
   * @param {import("./stage.js").Stage} stage
   */
  constructor(store, engines, send, stage) {
    this.#store = store;
    this.#engines = engines;
    this.#send = send;
    this.#stage = stage;
    this.#portrait = new Portrait(() => this.update());
    this.#snap = new Snap({
      framing: (on) => stage.framing(on),
      keep: (photo) => this.#replacePortrait(() => this.#portrait.usePhoto(photo, "Snapshot")),
      failed: (error) => this.#portrait.setError(error),
      closed: () => this.#card.focus(),
    });
    this.#card = new PortraitCard({
      file: (file) => this.useFile(file),
      snap: () => {
        this.#portrait.clearError();
        this.#snap.start();
      },
      sample: () => this.#useSample(),
      remove: () => {
        this.#portrait.remove();
        store.set({ portrait: "" });
      },
    });
    this.#slider = new QualitySlider({
      choose: (quality) => store.set({ quality }),
      stagger: (staggered) => {
        store.set({ staggered });
        this.#fetchOptions(this.#fps || DEFAULT_FPS); // every preset has another delay in the other mode
      },
    });
    this.#who = segments("#who", (who) => this.setWho(/** @type {"me" | "avatar"} */ (who)));
    if (store.now.portrait === "sample") this.#useSample();
  }

  /** @param {"me" | "avatar"} who @returns {void} */
  setWho(who) {
    this.#snap.cancel();
    this.#store.set({ who });
  }

  /** True while the participant wants to be seen as an avatar. @returns {boolean} */
  get chosen() {
    return this.#store.now.who === "avatar";
  }

  /** Makes a file the portrait. @param {File} file @returns {Promise<void>} */
  useFile(file) {
    return this.#replacePortrait(() => this.#portrait.useFile(file, file.name || "Picture"));
  }

  /** Only the sample is remembered: a portrait of one's own is forgotten with the tab. @param {() => Promise<boolean>} replace */
  async #replacePortrait(replace) {
    if (await replace()) this.#store.set({ portrait: "" });
  }

  async #useSample() {
    const response = await fetch(new URL("sample/portrait.jpg", import.meta.url)).catch(() => null);
    if (!response?.ok) return this.#portrait.setError(new Error("The sample portrait could not be loaded"));
    if (await this.#portrait.useFile(await response.blob(), "Sample portrait")) this.#store.set({ portrait: "sample" });
  }

  /**
   * Prepares a new session. The server gets the portrait before it gets the picture, so that no camera picture is shown first.
   * @param {import("./protocol.js").Welcome} welcome
   * @returns {Promise<void>} rejects where an avatar is wanted and the portrait could not be sent
   */
  async welcome(welcome) {
    this.#default = welcome.engine;
    this.#refused.clear();
    this.#outdated = true;
    this.#fetchedAt = -Infinity;
    this.#portrait.setSession(welcome.session);
    if (this.chosen) await this.#portrait.send();
    // Without the portrait the camera would be shown in the avatar's place, so there is no connection until the next attempt.
    if (this.chosen && this.#portrait.held && !this.#portrait.ready)
      throw new Error(this.#portrait.error?.message ?? "The portrait could not be sent.");
    this.update();
  }

  /** @param {import("./link.js").LinkState} state @returns {void} */
  link(state) {
    this.#live = state === "live";
    if (this.#live) return this.update();
    this.#stats = null;
    if (state !== "connecting") this.#portrait.setSession("");
    this.update();
  }

  /** Stores the engine that was chosen in the menu. @param {string} name @returns {void} */
  chooseEngine(name) {
    this.#refused.delete(name);
    if (this.#engines.isAvatar(name)) this.#store.set({ who: "avatar", avatarEngine: name });
    else this.#store.set({ who: "me", engine: name });
  }

  /**
   * Reacts to a message that the server refused.
   * @param {string} type @param {Record<string, unknown>} fields of the message @returns {void}
   */
  refused(type, fields) {
    if (type === "set_avatar") this.#store.set({ staggered: false });
    if (type !== "set_engine") return;
    this.#refused.add(String(fields.engine));
    this.update();
  }

  /**
   * Shows the server's prediction for the settings it now has.
   * @param {import("./protocol.js").Prediction | null | undefined} predicted @returns {void}
   */
  predicted(predicted) {
    this.#slider.setPrediction(predicted ?? null);
  }

  /** @param {Stats} stats @returns {void} */
  stats(stats) {
    this.#stats = stats;
    const { engine } = stats;
    const running = engine.showing ?? engine.name;
    this.#slider.setMeasured(this.#engines.hasQualities(running) ? stats.latency_ms.p50 : null);
    const fps = Math.max(5, Math.round(stats.fps_in / 5) * 5);
    const isNew = fps !== this.#fps || this.#incomplete;
    if (this.#engines.hasQualities(this.#wanted()) && isNew && this.#mayFetch) this.#fetchOptions(fps);
    this.#showBadge();
  }

  /** True where what the page knows of the presets is missing, lacks predictions, or is another session's. */
  get #incomplete() {
    return this.#outdated || this.#slider.waiting;
  }

  get #mayFetch() {
    return performance.now() - this.#fetchedAt > FETCH_INTERVAL_MS;
  }

  /** The mode that counts: a remembered choice has no effect on weights that were not trained for it. */
  get #staggered() {
    return this.#store.now.staggered && this.#staggeredTrained;
  }

  /**
   * Asks the server for the quality presets and their predictions.
   * @param {number} fps of the camera: a window fills as fast as it
   */
  async #fetchOptions(fps) {
    this.#fetchedAt = performance.now();
    const staggered = this.#staggered;
    const response = await fetch(`api/avatar?fps=${fps}&mode=${modeOf(staggered)}`).catch(() => null);
    if (!response?.ok || staggered !== this.#staggered) return;
    /** @type {AvatarOptions} */
    const options = await response.json();
    this.#outdated = false;
    this.#fps = fps;
    this.#defaultQuality = options.default;
    this.#staggeredTrained = options.staggered === true;
    this.#slider.setPresets(options.qualities, options.backend, this.#staggeredTrained);
    if (staggered === this.#staggered) return this.#showQuality();
    // The remembered mode counts from now on, or does not any more: the predictions were asked for the other one.
    this.update();
    this.#fetchOptions(fps);
  }

  /** @param {boolean} on true while the camera is what is sent @returns {void} */
  camera(on) {
    this.#card.camera(on);
    if (!on) this.#snap.cancel();
  }

  /** Name of the engine that should run; "" as long as the server's own choice is not known. @returns {string} */
  #wanted() {
    const { who, engine, avatarEngine } = this.#store.now;
    const best = (/** @type {import("./protocol.js").EngineInfo[]} */ engines, /** @type {string[]} */ ...preferred) => {
      const usable = engines.filter(({ name, available }) => available && !this.#refused.has(name)).map(({ name }) => name);
      return preferred.find((name) => usable.includes(name)) ?? usable[0] ?? "";
    };
    const avatar = who === "avatar" && this.#portrait.ready ? best(this.#engines.avatars, avatarEngine) : "";
    return avatar || best(this.#engines.cameras, engine, this.#default);
  }

  /** Brings the server and the page in line with the choices, the portrait and the connection. @returns {void} */
  update() {
    const { who, quality } = this.#store.now;
    const chosen = who === "avatar";
    if (chosen && !this.#portrait.ready && this.#portrait.state === "waiting") this.#portrait.send();
    const wanted = this.#wanted();
    if (wanted && (this.#engineSent || wanted !== this.#default)) {
      this.#engineSent = true;
      this.#send("set_engine", { engine: wanted });
    }
    const hasQualities = this.#engines.hasQualities(wanted);
    // Without a choice the engine's own values count, but once a mode was sent, going back must be sent too.
    if (hasQualities && (quality || this.#staggered || this.#settingsSent)) {
      this.#settingsSent = true;
      const sent = quality || this.#defaultQuality;
      this.#send("set_avatar", { ...(sent ? { quality: sent } : {}), mode: modeOf(this.#staggered) });
    }
    if (hasQualities && this.#incomplete && this.#mayFetch) this.#fetchOptions(this.#fps || DEFAULT_FPS);
    this.#showQuality();

    this.#who.show(who);
    this.#stage.avatar(chosen && this.#engines.isAvatar(wanted));
    find("#avatar-card").hidden = !chosen;
    find("#quality-block").hidden = !hasQualities;
    this.#card.show(this.#portrait);
    write(find("#avatar-text"), this.#statusText(wanted));
    find("#avatar-text").title = this.#finest?.reason ?? "";
    this.#showBadge();
  }

  #showQuality() {
    this.#slider.show(this.#store.now.quality || this.#defaultQuality, this.#staggered);
  }

  /** The best avatar engine with quality presets, whether it is available here or not. */
  get #finest() {
    return this.#engines.avatars.find(({ name }) => this.#engines.hasQualities(name));
  }

  /** @param {string} wanted @returns {string} */
  #statusText(wanted) {
    const avatars = this.#engines.avatars;
    const available = avatars.filter((engine) => engine.available);
    if (!this.#engines.empty && !available.length) {
      const reason = avatars.map((engine) => engine.reason).filter(Boolean).at(-1);
      return `This server cannot run avatars: ${reason || "none is installed"}`;
    }
    if (!this.#portrait.held) return "A portrait that moves as you move, in the light you choose.";
    if (!this.#engines.isAvatar(wanted) || this.#engines.hasQualities(wanted)) return "";
    const preview = "A quick preview, made on the CPU.";
    const finest = this.#finest;
    if (!finest || available.some(({ name }) => this.#engines.hasQualities(name))) return preview;
    return `${preview} The finer avatar (${this.#engines.avatarTitle(finest.name)}) is not installed on this server.`;
  }

  #showBadge() {
    const engine = this.chosen && this.#live ? (this.#stats?.engine ?? null) : null;
    const camera = engine && !this.#engines.isAvatar(engine.name);
    const message = this.#portrait.held ? "" : "choose a portrait";
    showBadge(camera ? { ...engine, showing: "me", message } : engine, this.#engines);
  }
}

/** @param {boolean} staggered @returns {"staggered" | "window"} as `set_avatar` spells it */
const modeOf = (staggered) => (staggered ? "staggered" : "window");
