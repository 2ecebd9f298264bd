// @ts-check
// What the picture on the stage is made by at this moment, said on it in two or three words, and why where there is a why.

import { find, write } from "./dom.js";

/** @typedef {import("./protocol.js").Stats["engine"]} EngineState */

const NAMES = /** @type {Record<string, string>} */ ({
  lcvd: "LCVD",
  avatar: "CPU preview",
  portrait: "Portrait held",
  camera: "Your camera",
});

/**
 * @param {EngineState | null} engine null: nothing flows, or nobody asked for an avatar
 */
export function showBadge(engine) {
  const showing = engine && (engine.showing ?? (engine.state === "ok" ? engine.name : "portrait"));
  const ready = engine?.state !== "warming" && engine?.state !== "paused"; // the status says these already
  const reason = (ready && engine?.message) || "";
  const badge = find("#badge");
  badge.hidden = !engine;
  badge.title = reason;
  badge.dataset.showing = showing ?? "";
  write(find("#badge-name"), showing ? (NAMES[showing] ?? "Not an avatar yet") : "");
  write(find("#badge-why"), reason.split(". ")[0].replace(/\.$/, "")); // the panel has all of it
}
