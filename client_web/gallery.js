// @ts-check
// The gallery shows each light as a small ball. It is a radio group with a roving tab index: the arrow keys choose one light after
// the other.

import { find, make } from "./dom.js";
import { drawBall } from "./shade.js";

/** @typedef {import("./store.js").Light} Light */

const BALL_PX = 96;

export class Gallery {
  #strip = find("#gallery");
  /** @type {Light[]} */
  #lights = [];
  #selected = "";
  #shownNames = "";
  #on;

  /**
   * @param {object} on
   * @param {(light: Light) => void} on.choose
   * @param {(light: Light) => void} on.remove called for copied lights only
   */
  constructor(on) {
    this.#on = on;
    this.#strip.addEventListener("keydown", (event) => this.#key(event));
    this.#strip.addEventListener("click", ({ target }) => {
      const element = /** @type {Element} */ (target);
      const light = this.#lightOf(element);
      if (!light) return;
      if (element.closest(".tile-remove")) this.#on.remove(light);
      else this.#on.choose(light);
    });
    // The vertical wheel of a mouse scrolls the strip sideways.
    this.#strip.addEventListener(
      "wheel",
      (event) => {
        if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || this.#strip.scrollWidth <= this.#strip.clientWidth) return;
        event.preventDefault();
        this.#strip.scrollBy({ left: event.deltaY, behavior: "instant" });
      },
      { passive: false },
    );
    const markEdges = () => {
      const { scrollLeft, scrollWidth, clientWidth } = this.#strip;
      this.#strip.classList.toggle("more-left", scrollLeft > 4);
      this.#strip.classList.toggle("more-right", scrollLeft < scrollWidth - clientWidth - 4);
    };
    this.#strip.addEventListener("scroll", markEdges, { passive: true });
    new ResizeObserver(markEdges).observe(this.#strip);
  }

  /** Lights in the order they are shown. @returns {Light[]} */
  get lights() {
    return this.#lights;
  }

  /**
   * Shows the lights.
   * @param {Light[]} lights @param {string} selected name @param {(light: Light) => boolean} removable @returns {void}
   */
  show(lights, selected, removable) {
    this.#lights = lights;
    const names = lights.map((light) => light.name).join();
    if (names !== this.#shownNames) {
      this.#shownNames = names;
      const focused = this.#lightOf(document.activeElement)?.name;
      this.#strip.replaceChildren(...lights.map((light, index) => this.#tile(light, index, removable(light))));
      if (focused) (this.#tileOf(focused) ?? this.#tileOf(selected))?.focus();
      this.#strip.dispatchEvent(new Event("scroll"));
      this.#selected = "";
    }
    if (selected === this.#selected) return;
    this.#selected = selected;
    for (const tile of /** @type {NodeListOf<HTMLElement>} */ (this.#strip.querySelectorAll(".tile"))) {
      const on = tile.dataset.light === selected;
      tile.setAttribute("aria-checked", String(on));
      tile.tabIndex = on ? 0 : -1;
      if (on) this.#reveal(tile);
    }
    const first = /** @type {HTMLElement | null} */ (this.#strip.querySelector(".tile"));
    if (first && !this.#tileOf(selected)) first.tabIndex = 0;
  }

  /** @param {Light} light @param {number} index @param {boolean} removable */
  #tile(light, index, removable) {
    const canvas = make("canvas", { width: String(BALL_PX), height: String(BALL_PX), "aria-hidden": "true" });
    drawBall(canvas, light.lighting);
    const tile = make(
      "div",
      {
        class: "tile",
        role: "radio",
        tabindex: "-1",
        "aria-checked": "false",
        "aria-label": light.title,
        title: light.description ?? light.title,
        "data-light": light.name,
      },
      canvas,
      make("span", { class: "tile-title" }, light.title),
    );
    if (index < 9) tile.setAttribute("aria-keyshortcuts", String(index + 1));
    if (removable) tile.append(make("span", { class: "tile-remove", title: "Remove", "aria-hidden": "true" }, "×"));
    return tile;
  }

  /** @param {HTMLElement} tile */
  #reveal(tile) {
    const [left, right] = [tile.offsetLeft, tile.offsetLeft + tile.offsetWidth];
    const { scrollLeft, clientWidth } = this.#strip;
    if (left < scrollLeft + 48) this.#strip.scrollLeft = left - 48;
    else if (right > scrollLeft + clientWidth - 48) this.#strip.scrollLeft = right - clientWidth + 48;
  }

  /** @param {string} name @returns {HTMLElement | null} */
  #tileOf(name) {
    return this.#strip.querySelector(`[data-light="${CSS.escape(name)}"]`);
  }

  /** @param {Element | null} element */
  #lightOf(element) {
    const tile = /** @type {HTMLElement | null | undefined} */ (element?.closest(".tile"));
    return this.#lights.find((light) => light.name === tile?.dataset.light);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const light = this.#lightOf(/** @type {Element} */ (event.target));
    if (!light) return;
    const count = this.#lights.length;
    const at = this.#lights.indexOf(light);
    const target = {
      ArrowRight: (at + 1) % count,
      ArrowDown: (at + 1) % count,
      ArrowLeft: (at + count - 1) % count,
      ArrowUp: (at + count - 1) % count,
      Home: 0,
      End: count - 1,
      Enter: at,
    }[event.key];
    if (event.key === "Delete" && this.#tileOf(light.name)?.querySelector(".tile-remove")) this.#on.remove(light);
    else if (target !== undefined) {
      this.#on.choose(this.#lights[target]);
      this.#tileOf(this.#lights[target].name)?.focus();
    } else return;
    event.preventDefault();
  }
}
