// @ts-check
// The engine menu lists the engines of the server's welcome, and shows which of them runs and what is wrong with it.

import { find, make, write } from "./dom.js";

/** @typedef {import("./sdk/relight.js").EngineInfo} EngineInfo */
/** @typedef {import("./sdk/relight.js").Stats} Stats */

export class EngineMenu {
  #menu = /** @type {HTMLSelectElement} */ (find("#engine"));
  #shownText = "";

  /** @param {(name: string) => void} onChoose */
  constructor(onChoose) {
    this.#menu.addEventListener("change", () => onChoose(this.#menu.value));
  }

  /** Fills the menu. @param {readonly EngineInfo[]} engines @param {string} chosen name @returns {void} */
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

  /** Clears the state while there is no connection. @returns {void} */
  clear() {
    this.show({ name: this.#menu.value, state: "ok", message: "" });
  }

  /** Shows the engine that runs and its state. @param {Stats["engine"]} engine @returns {void} */
  show({ name, state, message }) {
    if (document.activeElement !== this.#menu) this.#menu.value = name;
    const texts = { ok: "", warming: "Warming up…", behind: "Behind", failed: "Failed", paused: "" };
    const text = state === "ok" || state === "paused" ? "" : message || texts[state];
    if (text === this.#shownText) return;
    this.#shownText = text;
    write(find("#engine-state"), text);
    find("#engine-state").dataset.state = state;
  }
}
