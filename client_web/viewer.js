// @ts-check
// The page /view/NAME: a session's relit picture and its sound, and nothing else, for window captures, OBS's browser source and
// whoever got the link. Options stand in its query: ?muted, ?fit=contain|cover, ?ground=black|transparent, ?clean.

import { find, write } from "./dom.js";
import { iceConfiguration } from "./sdk/network/ice.js";
import { WhepPlayer } from "./sdk/whep.js";
import { takeToken } from "./token.js";

/** Sound that sets in over so long does not click. */
const FADE_MS = 150;
const NOTE_MS = 8000;
const NEEDS_TOKEN = "Open the whole link, with #token=… at its end, or ask for a new one.";
const CHOICES = /** @type {Record<string, string[]>} */ ({ fit: ["contain", "cover"], ground: ["black", "transparent"] });

const video = /** @type {HTMLVideoElement} */ (find("#picture"));
const unmute = find("#unmute");
const { body } = document;
const query = new URLSearchParams(location.search);
const muted = query.has("muted") && query.get("muted") !== "0";
const token = await takeToken((error) => note(String(error)));

// What is on air shows no words: OBS says by this name that it is the browser.
if ((query.has("clean") && query.get("clean") !== "0") || "obsstudio" in window) body.dataset.clean = "";
for (const [name, known] of Object.entries(CHOICES)) {
  const value = query.get(name) ?? known[0];
  body.dataset[name] = known.includes(value) ? value : known[0];
  if (!known.includes(value)) note(`${name}=${value} is not known: use ${known.map((each) => `${name}=${each}`).join(" or ")}.`);
}

/** Shows a text over the picture for a while. @param {string} text */
function note(text) {
  write(find("#note"), text);
  find("#note").hidden = false;
  window.setTimeout(() => (find("#note").hidden = true), NOTE_MS);
}

/** @param {string} title @param {string} hint */
function say(title, hint) {
  write(find("#status-title"), title);
  write(find("#status-hint"), hint);
}

/** Plays with sound where the browser lets it; elsewhere silently, with a button. @returns {Promise<void>} */
async function play() {
  try {
    await video.play();
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || video.muted) return; // a newer stream took over
    video.muted = true;
    unmute.hidden = false;
    await video.play().catch(() => {});
  }
}

function fadeIn() {
  const began = performance.now();
  const step = () => {
    video.volume = Math.min(1, (performance.now() - began) / FADE_MS);
    if (video.volume < 1) requestAnimationFrame(step);
  };
  video.volume = 0;
  video.muted = false;
  step();
}

unmute.addEventListener("click", () => {
  unmute.hidden = true;
  fadeIn();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "m" && !muted) {
    if (video.muted) fadeIn();
    else video.muted = true;
    unmute.hidden = !video.muted;
  } else if (event.key === "f") {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen().catch(() => {});
  }
});

const address = new URL(`../whep/${location.pathname.split("/").pop() ?? ""}`, location.href);
address.search = address.hash = "";

/** @returns {Promise<RTCConfiguration>} */
async function configuration() {
  const headers = /** @type {Record<string, string>} */ (token ? { authorization: `Bearer ${token}` } : {});
  const response = await fetch(new URL("../api/ice", location.href), { headers });
  return iceConfiguration(response.ok ? await response.json() : {}, "all");
}

video.muted = muted;
const player = new WhepPlayer(
  address.href,
  { token, sound: !muted, configuration },
  {
    stream(stream) {
      video.srcObject = stream;
      play();
    },
    state(state, reason) {
      body.dataset.state = state;
      if (state === "live") return;
      if (reason?.code === "unauthorized" && !token) say("This link needs a token", NEEDS_TOKEN);
      else say(reason?.message ?? "Connecting…", reason?.hint ?? "");
    },
  },
);
window.addEventListener("pagehide", () => player.close());
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
