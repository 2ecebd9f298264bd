// @ts-check
// The popup: the participant's light, portrait and server, and how the picture in the meeting looks. Its parts are our page's own;
// their addresses reach above the extension's root, where a browser stays at the root: `relight extension` copies them there.

import { segments, slider, toggle } from "../../controls.js";
import { find, write } from "../../dom.js";
import { Gallery } from "../../gallery.js";
import { LightBall } from "../../light_ball.js";
import { adjusted, keyOf } from "../../light_math.js";
import { SplitHandle } from "../../split.js";
import { Line } from "./line.js";
import { showPage } from "./page_state.js";
import { readPortrait } from "./portrait_file.js";

/** @typedef {import("../../store.js").Light} Light */
/** @typedef {import("../worker/settings.js").Settings} Settings */
/** @typedef {import("./line.js").Page} Page */

const NEUTRAL_K = 6500;

/** @type {Settings | null} */
let now = null;
/** @type {Light[]} */
let lights = [];
/** @type {Page[]} */
let pages = [];
let activeTab = -1;
/** Origin of the tab in front; empty where no page of it can have a camera. */
let site = "";
/** Server and token that were last tried. */
let tried = "";

const line = new Line({
  settings(settings) {
    now = settings;
    show();
    connect();
  },
  pages(all) {
    pages = all;
    showPages();
  },
  preview({ tab, before, after }) {
    if (tab !== shownPage()?.tab) return;
    for (const [id, url] of [["#before", before], ["#after", after]]) {
      const picture = /** @type {HTMLImageElement} */ (find(id));
      picture.hidden = !url;
      if (url) picture.src = url;
    }
  },
});

/** Changes choices; what is shown follows at once. @param {Partial<Settings>} patch */
function set(patch) {
  if (!now) return;
  now = { ...now, ...patch };
  line.set(patch);
  show();
}

/** The page of the tab in front, or else any that relights. */
const shownPage = () => pages.find(({ tab, report }) => tab === activeTab && report) ?? pages.find(({ report }) => report);
const showPages = () => showPage(shownPage(), now?.microphone ?? true);

// Light

const chosen = () => lights.find(({ name }) => name === now?.light) ?? lights[0];

/**
 * Adjusts the light, or the first one with a key light where the original was chosen: it has nothing to adjust.
 * @param {import("../../light_math.js").Adjust} change
 */
function adjust(change) {
  const original = chosen() === lights[0];
  const light = original ? lights.find(({ lighting }) => keyOf(lighting)) : chosen();
  if (light && now) set({ light: light.name, adjust: { ...(original ? {} : now.adjust), ...change }, original: false });
}

/** @param {number} change */
const brighten = (change) =>
  adjust({ intensity: Math.round(Math.min(3, Math.max(0, (now?.adjust.intensity ?? 1) + change)) * 100) / 100 });
const reset = () => set({ adjust: {} });

const gallery = new Gallery({ choose: ({ name }) => set({ light: name, adjust: {}, original: false }), remove: () => {} });
const ball = new LightBall({ aim: (direction) => adjust({ direction }), intensity: brighten, reset });
const intensity = slider("intensity", (v) => `${v.toFixed(2)}×`, (v) => adjust({ intensity: v }), () => adjust({ intensity: 1 }));
const warmth = slider("warmth", (v) => `${v} K`, (v) => adjust({ temperature_k: v }), () => adjust({ temperature_k: NEUTRAL_K }));
const strength = slider("strength", (v) => `${Math.round(v * 100)} %`, (v) => set({ strength: v }), () => set({ strength: 1 }));
find("#reset-light").addEventListener("click", reset);
const original = toggle("#original", (on) => set({ original: on }));
const split = new SplitHandle((at) => find("#stage").style.setProperty("--split", `${at * 100}%`));
split.show(0.5);

// Avatar

const who = segments("#who", (value) => set({ who: /** @type {Settings["who"]} */ (value) }));
const file = /** @type {HTMLInputElement} */ (find("#file"));
find("#upload").addEventListener("click", () => file.click());
find("#remove").addEventListener("click", () => set({ avatar: null, who: "me" }));
file.addEventListener("change", async () => {
  const [picture] = file.files ?? [];
  file.value = "";
  if (!picture) return;
  try {
    set({ avatar: await readPortrait(picture), who: "avatar" });
  } catch (error) {
    write(find("#avatar-text"), /** @type {Error} */ (error).message);
  }
});

// Server

const address = /** @type {HTMLInputElement} */ (find("#server"));
const token = /** @type {HTMLInputElement} */ (find("#token"));
const details = /** @type {HTMLDetailsElement} */ (find("#connection"));
find("#server-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!/^https?:$/.test(URL.canParse(address.value) ? new URL(address.value).protocol : ""))
    return serverState("Use an address like https://relight.example/", "warn");
  tried = "";
  set({ server: address.value, token: token.value.trim() });
  connect();
});
find("#microphone").addEventListener("click", () => now && set({ microphone: !now.microphone }));

/** Asks the server for its lights, and whether it admits the token; once for each address and token. */
async function connect() {
  if (!now || tried === `${now.server} ${now.token}`) return;
  const trying = (tried = `${now.server} ${now.token}`);
  line.flush();
  serverState("Connecting…");
  const [list, admitted] = await Promise.all([line.get("api/lights"), line.get("api/ice")]);
  if (trying !== tried) return;
  const host = new URL(now.server).host;
  if (list.status !== 200 || !Array.isArray(list.body)) serverState(`No Relight server at ${host}`, "warn");
  else if (admitted.status === 401) serverState(`${host} wants a valid token`, "warn");
  else if (admitted.status !== 200) serverState(admitted.body?.message ?? `${host} refused`, "warn");
  else serverState(host);
  if (Array.isArray(list.body)) lights = list.body;
  show();
}

/** @param {string} text @param {"" | "warn"} [tone] */
function serverState(text, tone = "") {
  write(find("#server-state"), text);
  find("#server-state").dataset.tone = tone;
  if (tone) details.open = true;
}

find("#site").addEventListener("click", () => {
  if (!now) return;
  set({ sites: now.sites.includes(site) ? now.sites.filter((each) => each !== site) : [...now.sites, site] });
});

// Choices → popup

function show() {
  if (!now) return;
  original.show(now.original);
  who.show(now.who);
  showAvatar(now);
  showLight(now);
  find("#microphone").setAttribute("aria-checked", String(now.microphone));
  find("#site-row").hidden = !site;
  write(find("#site-label"), `Always on ${site.replace(/^https?:\/\//, "")}`);
  find("#site").setAttribute("aria-checked", String(now.sites.includes(site)));
  // What is being typed stays.
  if (document.activeElement !== address && !address.value) address.value = now.server;
  if (document.activeElement !== token && !token.value) token.value = now.token;
  showPages();
}

/** @param {Settings} settings */
function showAvatar({ who, avatar }) {
  find("#avatar-card").hidden = who !== "avatar";
  const thumb = /** @type {HTMLImageElement} */ (find("#portrait"));
  thumb.hidden = find("#remove").hidden = !avatar;
  if (avatar) thumb.src = avatar.url;
  write(find("#upload"), avatar ? "Replace" : "Upload");
  write(find("#avatar-text"), avatar ? avatar.name : "A photo of one face, seen from the front. Until then others see your camera.");
}

/** @param {Settings} settings */
function showLight({ adjust, strength: amount, original }) {
  const light = chosen();
  find("#light-card").hidden = !light; // the lights come from the server
  find("#reset-light").hidden = !Object.keys(adjust).length;
  find("#ball-pad").classList.toggle("off", original);
  if (!light) return;
  write(find("#light-text"), light.title);
  gallery.show(lights, light.name, () => false);
  ball.show(adjusted(light.lighting, adjust), adjust.direction);
  intensity.show(adjust.intensity ?? 1);
  warmth.show(adjust.temperature_k ?? NEUTRAL_K);
  strength.show(amount);
}

addEventListener("pagehide", () => line.flush());
chrome.tabs.query({ active: true, currentWindow: true }).then(([tab]) => {
  activeTab = tab?.id ?? -1;
  if (tab?.url && URL.canParse(tab.url) && /^https?:/.test(tab.url)) site = new URL(tab.url).origin;
  show();
});
