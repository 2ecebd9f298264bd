// @ts-check
// Shows how the picture of a meeting fares: status, delay, advice and trouble.

import { delayText } from "../../delay.js";
import { find, write } from "../../dom.js";

/** @typedef {import("./line.js").Page} Page */

/** @type {Record<string, [string, string]>} tone and words of each state of the SDK */
const STATES = {
  connecting: ["busy", "Connecting…"],
  live: ["live", "Live"],
  camera: ["warn", "Camera, not relit"],
  portrait: ["busy", "Still portrait"],
  stopped: ["", "Stopped"],
};
const FACES = /** @type {Record<string, string>} */ ({
  no_face: "No face is seen: come into the picture.",
  move_closer: "Come a little closer.",
  turn_to_camera: "Turn toward the camera.",
});

/** @param {Page | undefined} page undefined: no page relights @param {boolean} delayed microphones are offered @returns {void} */
export function showPage(page, delayed) {
  const report = page?.report ?? null;
  const stage = find("#stage");
  stage.dataset.link = report ? "live" : "";
  stage.title = page?.host ?? "";
  const [tone, words] = report ? (STATES[report.state] ?? ["", report.state]) : ["", "Not in use"];
  find("#status").dataset.tone = tone;
  write(find("#status-text"), report && page?.host ? `${words} · ${page.host}` : words);
  write(find("#delay"), report?.delay ? delayText(report.delay * 1000, report.delay >= 1) : "");
  showAdvice(report ? adviceOf(report, delayed) : "");
  const trouble = report?.state === "live" ? null : report?.trouble;
  find("#trouble").hidden = !trouble;
  write(find("#trouble-message"), trouble?.message ?? "");
  write(find("#trouble-hint"), trouble?.hint ?? "");
}

/** @param {import("./line.js").Report} report @param {boolean} delayed @returns {string} what would make the picture better; or "" */
function adviceOf(report, delayed) {
  if (report.state === "live" && FACES[report.face]) return FACES[report.face];
  if (report.engine) return report.engine;
  if (delayed && !report.microphone) return "So that voice and lips agree, choose the microphone “Relight (…)” in the meeting.";
  return "";
}

/** @param {string} text */
function showAdvice(text) {
  find("#advice").hidden = !text;
  write(find("#advice"), text);
}
