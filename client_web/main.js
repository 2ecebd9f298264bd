// @ts-check
// Connects the parts of the page: the controls write choices into the store; the picture, the controls and the server follow it.

import { Avatar } from "./avatar.js";
import { Call } from "./call.js";
import { segments, slider, toggle } from "./controls.js";
import { acceptLights } from "./copy.js";
import { find, write } from "./dom.js";
import { acceptFiles } from "./drops.js";
import { EngineMenu } from "./engine_menu.js";
import { Gallery } from "./gallery.js";
import { listenToKeys } from "./keys.js";
import { LightBall } from "./light_ball.js";
import { adjusted, keyOf } from "./light_math.js";
import { ReadOut } from "./readout.js";
import { relight } from "./sdk/relight.js";
import { Source } from "./source.js";
import { SourceMenu } from "./source_menu.js";
import { SplitHandle } from "./split.js";
import { Stage } from "./stage.js";
import { Store } from "./store.js";
import { followTheme } from "./theme.js";
import { takeToken } from "./token.js";
import { trouble, troubleFrom } from "./trouble.js";

/** @typedef {import("./store.js").Light} Light */
/** @typedef {import("./store.js").Choices} Choices */

const FIRST_LIGHT = "rembrandt-left";
/** The stage says it already: the connection is lost, or the source ended. */
const SHOWN_ELSEWHERE = new Set(["no_server", "no_video", "track_ended"]);
const NEUTRAL_K = 6500;
const MAX_COPIED = 12;

const store = new Store();
followTheme(store);
const stage = new Stage();
const readOut = new ReadOut();

/** @type {Light[]} */
let presets = [];
/** The light that the server acknowledged, until another one is chosen. @type {import("./shade.js").Lighting | null} */
let acknowledged = null;
const lights = () => [...presets, ...store.now.copied];
const chosen = () => lights().find((light) => light.name === store.now.light) ?? presets[0];

// Server

// A code of its own, and it stays: the refused connection that follows would replace the reason by "a token is needed".
const token = await takeToken(({ message, hint }) => trouble({ code: "link_refused", message, hint, stays: true }));
const network = /** @type {import("./sdk/relight.js").Network} */ (new URLSearchParams(location.search).get("network") ?? "all");
const relit = /** @type {import("./sdk/relit.js").Relit} */ (await relight(null, { sound: "page", token, network }));
stage.relit(relit);

relit.on("connection", ({ state, why }) => {
  stage.link(state, why);
  avatar.link(state);
  if (state !== "live") {
    readOut.clear();
    engineMenu.clear();
  }
});
relit.on("welcome", (welcome) => {
  engineMenu.list(welcome.engines, store.now.engine || welcome.engine);
  if (!presets.length) loadLights();
  avatar.welcome();
});
relit.on("stats", (stats) => {
  stage.stats(stats);
  readOut.show(stats, relit.engines.hasQualities(stats.engine.showing ?? stats.engine.name));
  engineMenu.show(stats.engine);
  avatar.stats(stats);
});
relit.on("waiting", (waiting) => stage.waiting(waiting));
relit.on("report", (report) => readOut.network(report));
relit.on("trouble", (problem) => {
  if (!SHOWN_ELSEWHERE.has(problem.code)) troubleFrom(problem);
});
relit.on("refused", ({ type }) => avatar.refused(type));
relit.on("ack", ({ type, ack }) => {
  if (type === "set_avatar") avatar.predicted(ack.predicted);
  if (type !== "set_light" || !ack.lighting) return;
  acknowledged = ack.lighting;
  showLight();
});

async function loadLights() {
  try {
    const response = await relit.fetch("api/lights");
    if (!response.ok) throw new Error(`The lights could not be loaded (HTTP ${response.status})`);
    presets = await response.json();
  } catch (error) {
    return troubleFrom(error);
  }
  if (!lights().some((light) => light.name === store.now.light)) {
    const first = presets.find((light) => light.name === FIRST_LIGHT) ?? presets[1] ?? presets[0];
    store.set({ light: first.name, adjust: {} });
  }
  showGallery();
  showLight();
  sendLight();
}

// Light

function sendLight() {
  const light = chosen();
  if (!light) return;
  const adjust = Object.keys(store.now.adjust).length ? { adjust: store.now.adjust } : {};
  const copied = store.now.copied.includes(light);
  relit.send("set_light", { ...(copied ? { lighting: light.lighting } : { preset: light.name }), ...adjust });
}

/** @param {Light} light */
const choose = (light) => store.set({ light: light.name, adjust: {} });
const reset = () => store.set({ adjust: {} });

/**
 * Adjusts the light, or the first one with a key light where the original was chosen: it has nothing to adjust.
 * @param {import("./light_math.js").Adjust} change
 */
function adjust(change) {
  const original = chosen()?.name === presets[0]?.name;
  const light = original ? presets.find((each) => keyOf(each.lighting)) : chosen();
  if (light) store.set({ light: light.name, adjust: { ...(original ? {} : store.now.adjust), ...change } });
}

/** @param {number} change */
const brighten = (change) =>
  adjust({ intensity: Math.round(Math.min(3, Math.max(0, (store.now.adjust.intensity ?? 1) + change)) * 100) / 100 });

const gallery = new Gallery({
  choose,
  remove: (light) => {
    const copied = store.now.copied.filter((each) => each.name !== light.name);
    store.set(store.now.light === light.name ? { copied, light: FIRST_LIGHT, adjust: {} } : { copied });
  },
});
const ball = new LightBall({ aim: (direction) => adjust({ direction }), intensity: brighten, reset });
const intensity = slider("intensity", (v) => `${v.toFixed(2)}×`, (v) => adjust({ intensity: v }), () => adjust({ intensity: 1 }));
const warmth = slider("warmth", (v) => `${v} K`, (v) => adjust({ temperature_k: v }), () => adjust({ temperature_k: NEUTRAL_K }));
const softness = slider("softness", (v) => `${Math.round(v * 100)} %`, (v) => adjust({ softness: v }));
const strength = slider("strength", (v) => `${Math.round(v * 100)} %`, (v) => store.set({ strength: v }), () => store.set({ strength: 1 }));
find("#reset-light").addEventListener("click", reset);

const showGallery = () => gallery.show(lights(), store.now.light, (light) => store.now.copied.includes(light));

function showLight() {
  const light = chosen();
  if (!light) return;
  const { adjust: change } = store.now;
  const shown = acknowledged ?? adjusted(light.lighting, change);
  ball.show(shown, change.direction);
  write(find("#light-title"), light.title);
  write(find("#light-text"), light.description ?? "Copied light");
  find("#reset-light").hidden = !Object.keys(change).length;
  intensity.show(change.intensity ?? 1);
  warmth.show(change.temperature_k ?? NEUTRAL_K);
  softness.show(change.softness ?? keyOf(light.lighting)?.wrap ?? 0.2);
  strength.show(store.now.strength);
}

const copyLight = acceptLights(relit, {
  error: troubleFrom,
  light(lighting, title) {
    const name = `copied-${Date.now().toString(36)}`;
    const light = { name, title, description: `Copied from ${title}`, lighting: { ...lighting, name } };
    store.set({ copied: [...store.now.copied, light].slice(-MAX_COPIED), light: name, adjust: {} });
  },
});

// Me or an avatar

const avatar = new Avatar(store, relit, stage);
acceptFiles({
  avatar: () => avatar.chosen,
  file: (file, place) => (place === "portrait" ? avatar.useFile(file) : copyLight(file)),
});

// Sound, recording, viewers

const call = new Call(store, relit, token);

// View and background

const split = new SplitHandle((at) => store.set({ view: { ...store.now.view, split: at } }));
const background = segments("#background", (mode) => {
  store.set({ background: { ...store.now.background, mode: /** @type {Choices["background"]["mode"]} */ (mode) } });
});
const gain = slider("gain", (v) => `${Math.round(v * 100)} %`, (v) => store.set({ background: { ...store.now.background, gain: v } }));
const splitButton = toggle("#split", (on) => store.set({ view: { ...store.now.view, split: on ? 0.5 : null } }));
const hintButton = toggle("#hint", (on) => store.set({ view: { ...store.now.view, hint: on } }));
const pauseButton = toggle("#pause", (on) => store.set({ paused: on }));
const mirrorButton = toggle("#mirror", (on) => store.set({ mirror: { ...store.now.mirror, [mirrored()]: on } }));
const engineMenu = new EngineMenu((engine) => avatar.chooseEngine(engine));
/** Name of the source whose mirror counts. @returns {"sample" | "camera"} */
const mirrored = () => (source.now.kind === "sample" ? "sample" : "camera");

const peek = find("#peek");
peek.addEventListener("pointerdown", (event) => {
  peek.setPointerCapture(event.pointerId);
  stage.peek(true);
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur", "keyup"])
  peek.addEventListener(end, () => stage.peek(false));
peek.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && stage.peek(true));

listenToKeys({
  light: (index) => gallery.lights[index] && choose(gallery.lights[index]),
  hint: () => find("#hint").click(),
  split: () => find("#split").click(),
  mirror: () => find("#mirror").click(),
  pause: () => find("#pause").click(),
  microphone: () => find("#microphone-toggle").click(),
  record: () => find("#record").click(),
  snapshot: () => find("#snapshot").click(),
  float: () => find("#pip").click(),
  share: () => find("#share").click(),
  who: () => avatar.setWho(avatar.chosen ? "me" : "avatar"),
  peek: (held) => stage.peek(held),
});

// Picture source

const source = new Source((picture) => {
  stage.source(picture);
  call.picture(picture.stream);
  sources.show(picture);
  avatar.camera(picture.kind === "camera" && !picture.asking);
  showMirror();
});
const sources = new SourceMenu(store, source);
function showMirror() {
  const on = store.now.mirror[mirrored()];
  mirrorButton.show(on);
  stage.mirror(on);
  relit.setMirror(on);
}

// Choices → page and server

store.subscribe((choices, changed) => {
  const has = (/** @type {(keyof Choices)[]} */ ...keys) => keys.some((key) => changed.has(key));
  if (has("light", "adjust", "copied")) {
    // Only the server can rotate an environment: its last answer is nearer to the light than what is computed here.
    if (has("light") || !chosen()?.lighting.sh) acknowledged = null;
    sendLight();
    showGallery();
  }
  if (has("light", "adjust", "strength")) showLight();
  if (has("strength")) relit.send("set_strength", { value: choices.strength });
  if (has("background")) {
    const { mode } = choices.background;
    background.show(mode);
    gain.show(choices.background.gain);
    find("#gain-row").hidden = mode === "keep" || mode === "auto"; // these modes have no gain
    relit.send("set_background", { ...choices.background });
  }
  if (has("view")) {
    split.show(choices.view.split);
    splitButton.show(choices.view.split !== null);
    hintButton.show(choices.view.hint);
    relit.send("set_view", { ...choices.view });
  }
  if (has("paused")) {
    pauseButton.show(choices.paused);
    stage.pause(choices.paused);
    relit.send("pause", { on: choices.paused });
  }
  if (has("who", "engine", "avatarEngine", "quality", "staggered")) avatar.update();
  if (has("mirror")) showMirror();
  if (has("size")) sources.size(choices.size);
});

// pagehide, not beforeunload: the latter also comes before a download, or when the participant decides to stay.
window.addEventListener("pagehide", () => {
  store.save();
  relit.stop();
});
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

// The sample comes first, so that there is a picture while the browser asks for the camera and the server answers.
loadLights();
await source.sample(null, store.now.source === "camera").catch(troubleFrom);
if (store.now.source === "camera") sources.useCamera();
