// @ts-check
// The engine menu: what the server can run, which engine runs now, and what is wrong with it.

import { find, make, write } from "./dom.js";

/** @typedef {import("./protocol.js").EngineInfo} EngineInfo */
/** @typedef {import("./protocol.js").Stats} Stats */

export class EngineMenu {
  #menu = /** @type {HTMLSelectElement} */ (find("#engine"));
  #said = "";

  /** @param {(name: string) => void} onChoose */
  constructor(onChoose) {
    this.#menu.addEventListener("change", () => onChoose(this.#menu.value));
  }

  /** @param {EngineInfo[]} engines @param {string} chosen */
  list(engines, chosen) {
    this.#menu.replaceChildren(
      ...engines.map(({ name, title, available, reason }) => {
        const option = make("option", { value: name }, available ? title : `${title} (not here)`);
        option.disabled = !available;
        if (reason) option.title = reason;
        return option;
      }),
    );
    this.#menu.value = chosen;
  }

  /** Nothing is known while nothing flows. */
  forget() {
    this.show({ name: this.#menu.value, state: "ok", message: "" });
  }

  /** @param {Stats["engine"]} engine */
  show({ name, state, message }) {
    if (document.activeElement !== this.#menu) this.#menu.value = name;
    const words = { ok: "", warming: "Warming up…", behind: "Behind", failed: "Failed", paused: "" };
    const text = state === "ok" || state === "paused" ? "" : message || words[state];
    if (text === this.#said) return;
    this.#said = text;
    write(find("#engine-state"), text);
    find("#engine-state").dataset.state = state;
  }
}
