// @ts-check
// The before/after divider over the picture. The server composes the halves; the handle follows the pointer without waiting for it.

import { find } from "./dom.js";

const STEP = 0.02;

export class SplitHandle {
  #handle = find("#split-handle");
  #stage = find("#stage");
  #at = 0.5;
  #onMove;

  /** @param {(at: number) => void} onMove share of the width, 0 left … 1 right */
  constructor(onMove) {
    this.#onMove = onMove;
    const handle = this.#handle;
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus({ preventScroll: true });
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.#stage.getBoundingClientRect();
      this.#move((event.clientX - box.left) / box.width);
    });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 * STEP : STEP;
      const goal = {
        ArrowLeft: this.#at - step,
        ArrowDown: this.#at - step,
        ArrowRight: this.#at + step,
        ArrowUp: this.#at + step,
        Home: 0,
        End: 1,
      }[event.key];
      if (goal === undefined) return;
      event.preventDefault();
      this.#move(goal);
    });
  }

  /** @param {number | null} at null: no divider @returns {void} */
  show(at) {
    this.#handle.hidden = at === null;
    this.#stage.classList.toggle("split", at !== null);
    if (at !== null) this.#place(at);
  }

  /** @param {number} at */
  #move(at) {
    this.#place(Math.min(1, Math.max(0, at)));
    this.#onMove(this.#at);
  }

  /** @param {number} at */
  #place(at) {
    this.#at = at;
    this.#handle.style.left = `${at * 100}%`;
    this.#handle.setAttribute("aria-valuenow", String(Math.round(at * 100)));
  }
}
