// @ts-check
// The choice between oneself and an avatar: it hands the choice and the portrait to the SDK, and keeps the avatar's part of the
// panel up to date.

import { showBadge } from "./badge.js";
import { PortraitCard } from "./card.js";
import { segments } from "./controls.js";
import { find, write } from "./dom.js";
import { QualitySlider } from "./quality.js";
import { Snap } from "./snap.js";

/** @typedef {import("./sdk/relit.js").Relit} Relit */
/** @typedef {import("./sdk/relight.js").AvatarOptions} AvatarOptions */
/** @typedef {import("./sdk/relight.js").Stats} Stats */
/** @typedef {import("./store.js").Store} Store */

const FETCH_INTERVAL_MS = 4000;
const DEFAULT_FPS = 25; // of a camera that has not been measured yet

export class Avatar {
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
  #relit;
  #stage;
  #portrait;
  #card;
  #slider;
  #snap;
  #who;

  /**
   * @param {Store} store
   * @param {Relit} relit
   * @param {import("./stage.js").Stage} stage
   */
  constructor(store, relit, stage) {
    this.#store = store;
    this.#relit = relit;
    this.#stage = stage;
    this.#portrait = relit.portrait;
    relit.on("portrait", () => this.#show());
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

  /** Begins a new session: the server may have restarted with other weights. @returns {void} */
  welcome() {
    this.#outdated = true;
    this.#fetchedAt = -Infinity;
  }

  /** @param {import("./sdk/link.js").LinkState} state @returns {void} */
  link(state) {
    this.#live = state === "live";
    if (!this.#live) this.#stats = null;
    this.update();
  }

  /** Stores the engine that was chosen in the menu. @param {string} name @returns {void} */
  chooseEngine(name) {
    this.#relit.retryEngine(name);
    if (this.#engines.isAvatar(name)) this.#store.set({ who: "avatar", avatarEngine: name });
    else this.#store.set({ who: "me", engine: name });
  }

  /** Reacts to a message that the server refused. @param {string} type @returns {void} */
  refused(type) {
    if (type === "set_avatar") this.#store.set({ staggered: false });
  }

  /**
   * Shows the server's prediction for the settings it now has.
   * @param {import("./sdk/relight.js").Prediction | null | undefined} predicted @returns {void}
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
    if (this.#engines.hasQualities(this.#relit.wantedEngine) && isNew && this.#mayFetch) this.#fetchOptions(fps);
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
    const response = await this.#relit.fetch(`api/avatar?fps=${fps}&mode=${modeOf(staggered)}`).catch(() => null);
    if (!response?.ok || staggered !== this.#staggered) return;
    /** @type {AvatarOptions} */
    const options = await response.json();
    this.#outdated = false;
    this.#fps = fps;
    this.#defaultQuality = options.default;
    this.#staggeredTrained = options.staggered === true;
    this.#slider.setPresets(options.qualities, options.backend, this.#staggeredTrained, options.least_steps ?? 1);
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

  get #engines() {
    return this.#relit.engines;
  }

  /** Brings the server and the page in line with the choices, the portrait and the connection. @returns {void} */
  update() {
    const { engine, avatarEngine } = this.#store.now;
    this.#relit.choose(this.chosen, [avatarEngine, engine]);
    this.#show();
  }

  #show() {
    const { who, quality } = this.#store.now;
    const chosen = who === "avatar";
    const wanted = this.#relit.wantedEngine;
    const hasQualities = this.#engines.hasQualities(wanted);
    // Without a choice the engine's own values count, but once a mode was sent, going back must be sent too.
    if (hasQualities && (quality || this.#staggered || this.#settingsSent)) {
      this.#settingsSent = true;
      const sent = quality || this.#defaultQuality;
      this.#relit.send("set_avatar", { ...(sent ? { quality: sent } : {}), mode: modeOf(this.#staggered) });
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
