// @ts-check
// The class behind relight(): a MediaStream whose tracks live until stop(), and the session that makes its pictures.

import { AvatarGate } from "./avatar_gate.js";
import { EngineChoice } from "./engine_choice.js";
import { EngineList } from "./engines.js";
import { Events } from "./events.js";
import { checkNetwork } from "./network/ice.js";
import { Link } from "./link.js";
import { PictureOutput } from "./picture_output.js";
import { Portrait } from "./portrait.js";
import { Disconnected, troubleOf } from "./protocol.js";
import { resume } from "./resume.js";
import { Server } from "./server.js";
import { Sound } from "./sound/sound.js";
import { checkWay } from "./sound/way.js";
import { checkSource, ended } from "./source_check.js";
import { ReturnedTiming } from "./sound/returned_timing.js";
import { Timing } from "./sound/timing.js";
import { createSync } from "./sync.js";

/** @typedef {import("./relight.js").Options} Options */
/** @typedef {import("./relight.js").State} State */
/** @typedef {import("./relight.js").Welcome} Welcome */
/** @typedef {import("./relight.js").Message} Message */
/** @typedef {import("./relight.js").Stats} Stats */
/** @typedef {import("./relight.js").Trouble} Trouble */
/** @typedef {import("./link.js").LinkState} LinkState */
/**
 * Events of our own page, beside the public ones.
 * @typedef {object} OwnEvents
 * @property {{state: LinkState, why: string}} connection
 * @property {{type: string, ack: Message}} ack a choice took effect
 * @property {{type: string, fields: Record<string, unknown>, error: Error}} refused a choice did not
 * @property {import("./peer.js").NetworkReport} report what the browser measured
 * @property {undefined} portrait the portrait or the engine that is wanted may have changed
 */
/** @typedef {import("./relight.js").RelitEvents & OwnEvents} AllEvents */

const NO_SERVER = "The camera goes on, an avatar's portrait where one is chosen; relit pictures come back by themselves.";

export class Relit extends MediaStream {
  /** The engines of the present session. */
  engines = new EngineList();
  /** @type {State} */
  #state = "connecting";
  #view = "";
  #events = new Events(["trouble"]);
  #choice = new EngineChoice(this.engines);
  #server;
  #link;
  #picture;
  /** The portrait that an avatar animates. */
  portrait;
  /** True while the participant wants to be seen as an avatar. */
  #avatar = false;
  /** True from setAvatar(portrait) on: the camera is covered even before the portrait can be read. */
  #strict = false;
  /** The portrait as it was handed in: it is seen before the server has it, and where the server refuses it. @type {ImageBitmap | null} */
  #preview = null;
  /** @type {Blob | null} */
  #newest = null;
  /** Resolves once the portrait that was handed in last can be seen, or cannot be read. @type {Promise<void>} */
  seen = Promise.resolve();
  #gate = new AvatarGate();
  #timing;
  #returnedTiming = new ReturnedTiming();
  #soundWay;
  /** What was handed in last. @type {MediaStream | null} */
  #source = null;
  /** Made with the first audio track. @type {import("./sound/sound.js").Sound | null} */
  #sound = null;
  #stopDelaying = () => {};
  /** Problems that were told since there was a picture: each attempt to connect would tell them again. @type {Set<string>} */
  #told = new Set();
  #sync;
  /** @type {LinkState} */
  #connection = "resting";
  /** Name of the present session, or of the last one. */
  #session = "";

  /** @param {MediaStream | null} stream @param {Options} [options] throws TypeError */
  constructor(stream, options = {}) {
    super();
    const { server = new URL("..", import.meta.url), token = "", sound = "page", network = "all", transport } = options;
    checkWay(sound);
    checkNetwork(network);
    this.#server = new Server(server, token, transport);
    this.#soundWay = sound;
    this.#picture = new PictureOutput({
      change: () => this.#settle(),
      picture: (shown, rtp, now_ms) => this.#displayed(shown === "relit" ? rtp : "camera", now_ms / 1000),
      ended: () => this.#trouble(ended()),
    });
    this.#picture.admit((rtp) => !this.#covered || this.#gate.admits(rtp, performance.now()));
    this.addTrack(this.#picture.track);
    this.portrait = new Portrait(this.#server, () => this.#update());
    this.#link = new Link(this.#server, network, {
      state: (state, why) => this.#connected(state, why),
      welcome: (welcome) => this.#welcome(welcome),
      sound: (receiver) => this.#sound?.prepare(receiver),
      track: (track, receiver) => this.#returned(track, receiver),
      waiting: ({ place, of, estimate_s }) => this.#events.emit("waiting", { place, of, estimate_s }),
      message: (message) => this.#message(message),
      error: (error) => this.#once(error),
    });
    this.#timing = new Timing((type, fields) => this.#link.request(type, fields));
    this.#link.onReport = (report) => {
      this.#timing.network(report);
      this.#events.emit("report", report);
    };
    this.#sync = createSync(
      (type, fields) => this.#link.request(type, fields),
      (error, type, fields) => {
        this.#trouble(error);
        if (type === "set_engine") this.#choice.refuse(String(fields.engine));
        this.#events.emit("refused", { type, fields, error });
        if (type === "set_engine") this.#update();
      },
      (type, ack) => this.#events.emit("ack", { type, ack }),
    );
    if (options.light !== undefined) this.setLight(options.light);
    if (options.strength !== undefined) this.setStrength(options.strength);
    if (options.mirror !== undefined) this.setMirror(options.mirror);
    if (options.engine) this.#choice.prefer(options.engine);
    if (options.avatar) this.setAvatar(options.avatar);
    if (stream) this.replaceSource(stream);
  }

  get stream() {
    return this;
  }

  get state() {
    return this.#state;
  }

  get delay() {
    return this.#timing.delay_s;
  }

  get view() {
    return this.#view;
  }

  /** @type {<K extends keyof AllEvents>(event: K, listener: (detail: AllEvents[K]) => void) => () => void} */
  on(event, listener) {
    return this.#events.on(event, listener);
  }

  /** @type {import("./relight.js").Relit["setLight"]} */
  setLight(light, adjust) {
    const which = typeof light === "string" ? { preset: light } : { lighting: light };
    this.send("set_light", { ...which, ...(adjust && Object.keys(adjust).length ? { adjust } : {}) });
  }

  /** @param {number} value */
  setStrength(value) {
    this.send("set_strength", { value });
  }

  /** @param {boolean} on */
  setMirror(on) {
    this.#picture.setMirror(on);
    this.send("mirror", { on });
  }

  /** @param {string} name */
  setEngine(name) {
    this.#choice.prefer(name);
    this.#update();
  }

  /** @param {Blob | null} portrait @returns {Promise<boolean>} */
  async setAvatar(portrait) {
    this.#avatar = this.#strict = portrait !== null;
    this.#gate.close();
    this.#preview = null;
    if (!portrait) this.portrait.remove();
    this.#update();
    if (!portrait) return true;
    this.seen = this.#show(portrait);
    const held = await this.portrait.useFile(portrait, /** @type {File} */ (portrait).name || "portrait");
    if (!held && this.portrait.error) this.#trouble(this.portrait.error);
    if (!held && this.portrait.held && portrait === this.#newest) this.#preview = null; // the one before it stays
    this.#update();
    return held;
  }

  /** Shows a portrait at once; one that cannot be read is told by `setAvatar`. @param {Blob} portrait */
  async #show(portrait) {
    this.#newest = portrait;
    const picture = await createImageBitmap(portrait).catch(() => null);
    if (portrait !== this.#newest || !this.#strict || !picture) return;
    this.#preview = picture;
    this.#update();
  }

  /**
   * Chooses the avatar, which counts once there is a portrait, or the participant's own picture.
   * @param {boolean} avatar @param {string[]} engines preferred, the most wanted first @returns {void}
   */
  choose(avatar, engines) {
    if (avatar && !this.#avatar) this.#gate.close();
    this.#avatar = avatar;
    this.#strict &&= avatar;
    this.#choice.preferred = engines.filter(Boolean);
    this.#update();
  }

  /** Tries again an engine that the server refused. @param {string} name @returns {void} */
  retryEngine(name) {
    this.#choice.prefer(name);
  }

  /** Name of the engine that should run; "" as long as the server's own choice is not known. @returns {string} */
  get wantedEngine() {
    return this.#choice.wanted(this.#avatar && this.portrait.ready);
  }

  /** @param {MediaStream | null} stream */
  replaceSource(stream) {
    this.#source = stream;
    const { picture, sound, troubles } = checkSource(stream);
    for (const trouble of troubles) this.#trouble(trouble);
    if (sound && this.#soundWay !== "none" && !this.#sound) {
      this.#sound = new Sound();
      if (this.#soundWay === "page") this.#stopDelaying = this.#timing.attach(this.#sound);
      this.addTrack(this.#sound.track);
    }
    this.#sound?.setSource(this.#soundWay === "none" ? null : sound);
    this.#picture.setCamera(picture);
    this.#link.send(picture, this.#soundWay === "server" ? sound : null).catch((error) => this.#trouble(error));
  }

  /** Keeps a further sound in step with this picture. @param {import("./sound/sound.js").Sound} sound @returns {() => void} lets it go */
  lead(sound) {
    return this.#timing.attach(sound);
  }

  /** @param {import("./relight.js").Sound} way throws TypeError */
  setSound(way) {
    checkWay(way);
    if (way === this.#soundWay) return;
    this.#soundWay = way;
    this.#stopDelaying();
    this.#stopDelaying = way === "page" && this.#sound ? this.#timing.attach(this.#sound) : () => {};
    if (way !== "page") this.#sound?.follow({ how: "jump", delay_s: 0 }); // the camera's, where there is no relit picture
    this.replaceSource(this.#source);
    this.#settle();
  }

  /** @param {string} type @param {Record<string, unknown>} fields */
  send(type, fields) {
    this.#sync.send(type, fields);
  }

  /** @param {string} path @param {RequestInit} [init] */
  fetch(path, init) {
    return this.#server.fetch(path, init);
  }

  stop() {
    if (this.#state === "stopped") return;
    this.#link.close();
    this.#timing.end();
    this.#picture.stop();
    this.#sound?.stop();
    this.#setState("stopped");
  }

  /** True while the camera may not be seen. */
  get #covered() {
    return this.#avatar && (this.#strict || this.portrait.held !== null);
  }

  /** @param {number | null | "camera"} picture RTP timestamp of a relit one, null: unknown @param {number} now_s */
  #displayed(picture, now_s) {
    this.#timing.picture(picture, now_s);
    const heard = typeof picture === "number" ? this.#returnedTiming.picture(picture, now_s) : null;
    if (heard) this.#sound?.match(heard);
  }

  /** @param {MediaStreamTrack} track @param {RTCRtpReceiver} receiver */
  #returned(track, receiver) {
    if (track.kind !== "video") return this.#sound?.setReturned(track, receiver);
    this.#picture.setRelit(track, receiver, (rtp) => {
      const begins = this.#gate.takeOver(this.#covered, rtp, performance.now());
      if (begins) this.#link.arrived();
      return begins;
    });
  }

  /** @param {LinkState} state @param {string} why */
  #connected(state, why) {
    if (this.#connection === "waiting" && state !== "waiting") this.#events.emit("waiting", null);
    this.#connection = state;
    if (state === "live") this.#told.clear();
    else this.#gate.close();
    if (state === "reconnecting" || state === "resting") {
      this.portrait.setSession("");
      this.#view = "";
      this.#picture.setRelit(null);
      this.#sound?.setReturned(null);
      this.#timing.end();
    }
    if (state === "reconnecting")
      this.#once({ code: "no_server", message: why || `The server does not answer: ${this.#server.address}`, hint: NO_SERVER });
    this.#events.emit("connection", { state, why });
    if (state === "live") this.#update();
    this.#settle();
  }

  /**
   * Prepares a new session. The server gets the portrait before it gets the picture, so that no camera picture is shown first.
   * @param {Welcome} welcome @returns {Promise<void>} rejects where an avatar is wanted and the portrait could not be sent
   */
  async #welcome(welcome) {
    const lost = this.#session;
    this.#gate.expect();
    const resumed = await resume((type, fields) => this.#link.request(type, fields), lost);
    this.#session = welcome.session;
    this.#view = resumed?.view ?? welcome.view ?? "";
    this.engines.replace(welcome.engines);
    this.#choice.welcome(welcome.engine);
    this.portrait.setSession(welcome.session);
    if (resumed?.avatar) this.portrait.resumed(lost);
    this.#timing.begin();
    this.#returnedTiming = new ReturnedTiming();
    this.#events.emit("welcome", welcome);
    await this.#sound?.ready;
    if (this.#avatar) await this.portrait.send();
    // Without the portrait the camera would be shown in the avatar's place, so there is no connection until the next attempt.
    if (this.#avatar && this.portrait.held && !this.portrait.ready)
      throw new Error(this.portrait.error?.message ?? "The portrait could not be sent.");
    this.#update();
    this.#sync.restore();
  }

  /** @param {Message} message */
  #message(message) {
    if (message.type === "stats") {
      const stats = /** @type {Stats} */ (/** @type {unknown} */ (message));
      const showing = stats.engine.showing ?? stats.engine.name;
      this.#gate.stats(showing === "portrait" || this.engines.isAvatar(showing), stats.sync, performance.now());
      this.#timing.stats(stats);
      this.#returnedTiming.pair(stats.sync);
      this.#events.emit("stats", stats);
      return;
    }
    if (message.type === "notice") this.#trouble(message);
    if (message.type === "error") this.#once(message);
    this.#events.emit("message", message);
  }

  /** Brings the server and the picture in line with the choices, the portrait and the connection. */
  #update() {
    const { portrait } = this;
    if (this.#avatar && !portrait.ready && portrait.state === "waiting") portrait.send();
    const wanted = this.wantedEngine;
    if (this.#choice.mustSend(wanted)) this.send("set_engine", { engine: wanted });
    this.#picture.setStill(this.#covered ? ((this.#strict && this.#preview) || portrait.held?.photo.canvas || "card") : null);
    this.#events.emit("portrait", undefined);
  }

  #settle() {
    const { showing } = this.#picture;
    this.#sound?.useReturned(this.#soundWay === "server" && showing === "relit");
    if (showing === "relit") return this.#setState("live");
    const waiting = this.#connection === "connecting" && this.#state === "connecting";
    this.#setState(waiting ? "connecting" : this.#covered ? "portrait" : "camera");
  }

  /** @param {State} state */
  #setState(state) {
    if (state === this.#state || this.#state === "stopped") return;
    this.#state = state;
    this.#events.emit("state", state);
  }

  /** Tells a problem of the connection, unless it was told since there was a picture. @param {Partial<Trouble> & {[other: string]: any}} problem */
  #once(problem) {
    const code = problem.code ?? "";
    if (this.#told.has(code) || (code === "no_server" && this.#told.size)) return; // the server's own words were more to the point
    this.#told.add(code);
    this.#trouble(problem);
  }

  /** @param {unknown} error */
  #trouble(error) {
    if (error instanceof Disconnected) return;
    this.#events.emit("trouble", troubleOf(error));
  }
}
