// @ts-check
// The control page of `relight camera`: choices go to the command, and what it answers is shown. Keys in the terminal change the
// same choices, so nothing is kept here.

import { LightBall } from "../light_ball.js";
import { Gallery } from "../gallery.js";
import { adjusted } from "../light_math.js";
import { segments, slider, toggle } from "../controls.js";
import { find, write } from "../dom.js";
import { ControlChannel } from "./channel.js";

/** @typedef {import("../store.js").Light} Light */
/** @typedef {import("./channel.js").State} State */
/** @typedef {import("../light_math.js").Adjust} Adjust */

const MAX_INTENSITY = 3;
const CAMERA = {
  off: "The camera is off: nobody looks",
  opening: "Opening the camera…",
  live: "Live",
  away: "The camera is away",
};
const ADVICE = { ok: "", no_face: "No face is seen", move_closer: "Move a little closer", turn_to_camera: "Turn to the camera" };

/** @type {Light[]} */
let lights = [];
/** @type {State | null} */
let state = null;

const channel = new ControlChannel({
  state(next) {
    state = next;
    show(next);
  },
  status(status) {
    const live = status.camera === "live";
    find("#status").dataset.tone = live ? "live" : status.camera === "away" ? "warn" : "busy";
    write(find("#status-text"), (live && (status.engine.message || ADVICE[status.face])) || CAMERA[status.camera]);
    write(find("#meter"), live ? `${Math.round(status.delay_ms.p50)} ms · ${Math.round(status.fps)} fps` : "");
    write(find("#delay"), status.delay_ms.p50 ? String(Math.round(status.delay_ms.p50)) : "–");
    const [width, height] = status.size;
    write(find("#output"), width ? `${width} × ${height} · ${status.engine.name}` : "");
    find("#stage").style.setProperty("--aspect", width ? String(width / height) : "1.3333");
    const trouble = find("#trouble");
    trouble.hidden = !status.trouble || live;
    write(trouble, `${status.trouble}. ${status.hint}`);
  },
  preview(jpeg) {
    const image = /** @type {HTMLImageElement} */ (find("#preview"));
    const old = image.src;
    image.src = URL.createObjectURL(jpeg);
    image.hidden = false;
    if (old) image.addEventListener("load", () => URL.revokeObjectURL(old), { once: true });
  },
  refused(message) {
    write(find("#status-text"), message);
    if (state) show(state);
  },
  closed() {
    find("#status").dataset.tone = "warn";
    write(find("#status-text"), "relight camera has ended, or does not answer");
    find("#preview").hidden = true;
  },
});

/** @param {Adjust} adjust */
function aim(adjust) {
  if (!state) return;
  state = { ...state, adjust };
  ball.show(adjusted(chosen().lighting, adjust), adjust.direction);
  channel.send("set_light", { preset: state.light, adjust });
}

/** @returns {Light} */
function chosen() {
  return lights.find((light) => light.name === state?.light) ?? lights[0];
}

const gallery = new Gallery({
  choose: (light) => channel.send("set_light", { preset: light.name }),
  remove() {},
});
const ball = new LightBall({
  aim: (direction) => aim({ ...state?.adjust, direction }),
  intensity(change) {
    const intensity = Math.min(MAX_INTENSITY, Math.max(0, (state?.adjust?.intensity ?? 1) + change));
    aim({ ...state?.adjust, intensity });
  },
  reset: () => channel.send("set_light", { preset: chosen().name }),
});
const strength = slider("strength", (value) => `${Math.round(100 * value)} %`, (value) => channel.send("set_strength", { value }));
const background = segments("#background", (mode) => channel.send("set_background", { mode }));
const mirror = toggle("#mirror", (on) => channel.send("mirror", { on }));
const before = toggle("#before", (on) => channel.send("set_view", { split: on ? 1 : null }));
find("#reset-light").addEventListener("click", () => channel.send("set_light", { preset: chosen().name }));

/** @param {State} now */
function show(now) {
  if (!lights.length) return;
  gallery.show(lights, now.light, () => false);
  const light = chosen();
  write(find("#light-title"), light.title);
  write(find("#light-text"), light.description ?? "");
  ball.show(now.lighting, now.adjust?.direction);
  find("#reset-light").hidden = !now.adjust;
  strength.show(now.strength);
  background.show(now.background);
  mirror.show(now.mirror);
  before.show(now.before);
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (event.altKey || event.ctrlKey || event.metaKey || target.closest("input, select, [role=slider]")) return;
  if (event.key >= "1" && event.key <= "9" && lights[Number(event.key) - 1])
    channel.send("set_light", { preset: lights[Number(event.key) - 1].name });
  else if (event.key === " " && !target.closest("button, [role=radio]")) channel.send("set_view", { split: state?.before ? null : 1 });
  else if (event.key.toLowerCase() === "m") channel.send("mirror", { on: !state?.mirror });
  else return;
  event.preventDefault();
});

lights = await (await fetch("../api/lights")).json();
if (state) show(state);
