// @ts-check
// The badge on the picture names the engine that makes it at this moment, and says in a few words why it is not another one.

import { find, write } from "./dom.js";

/** @typedef {import("./sdk/engines.js").EngineList} EngineList */
/** @typedef {import("./sdk/relight.js").Stats["engine"]} EngineState */

/** Values of `stats.engine.showing` that are not an engine. */
const STAND_INS = /** @type {Record<string, string>} */ ({ portrait: "Portrait held", camera: "Your camera" });

/**
 * Shows the badge, or hides it.
 * @param {EngineState | null} engine null where nothing flows, or where nobody asked for an avatar
 * @param {EngineList} engines
 * @returns {void}
 */
export function showBadge(engine, engines) {
  const showing = engine && (engine.showing ?? (engine.state === "ok" ? engine.name : "portrait"));
  const ready = engine?.state !== "warming" && engine?.state !== "paused"; // the status says these already
  const reason = (ready && engine?.message) || "";
  const badge = find("#badge");
  badge.hidden = !engine;
  badge.title = reason;
  badge.dataset.showing = showing ?? "";
  write(find("#badge-name"), showing ? (STAND_INS[showing] ?? engines.avatarTitle(showing) ?? "Not an avatar yet") : "");
  write(find("#badge-why"), reason.split(". ")[0].replace(/\.$/, "")); // the panel has all of it
}
