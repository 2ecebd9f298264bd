// @ts-check
// The panel's sliders: labelled ranges that show their value, fill their track, and go home on a double click.

import { find, write } from "./dom.js";

/**
 * @typedef {object} Slider
 * @property {(value: number) => void} show
 */

/**
 * @param {string} id of the range input; its output is `#id-value`
 * @param {(value: number) => string} format
 * @param {(value: number) => void} onInput
 * @param {() => void} [onHome] double click
 * @returns {Slider}
 */
export function slider(id, format, onInput, onHome) {
  const input = /** @type {HTMLInputElement} */ (find(`#${id}`));
  const output = find(`#${id}-value`);
  const paint = () => {
    const [low, high, value] = [Number(input.min), Number(input.max), input.valueAsNumber];
    input.style.setProperty("--fill", `${((value - low) / (high - low)) * 100}%`);
    write(output, format(value));
    input.setAttribute("aria-valuetext", format(value));
  };
  input.addEventListener("input", () => {
    paint();
    onInput(input.valueAsNumber);
  });
  if (onHome) input.addEventListener("dblclick", onHome);
  paint();
  return {
    show(value) {
      input.valueAsNumber = value;
      paint();
    },
  };
}

/**
 * A segmented control: a fieldset of radio inputs.
 * @param {string} selector @param {(value: string) => void} onChoose @returns {{show: (value: string) => void}}
 */
export function segments(selector, onChoose) {
  const group = find(selector);
  group.addEventListener("change", ({ target }) => onChoose(/** @type {HTMLInputElement} */ (target).value));
  return {
    show(value) {
      for (const input of group.querySelectorAll("input")) input.checked = input.value === value;
    },
  };
}

/** A button that is either on or off. @param {string} selector @param {(on: boolean) => void} onToggle */
export function toggle(selector, onToggle) {
  const button = find(selector);
  button.addEventListener("click", () => onToggle(button.getAttribute("aria-pressed") !== "true"));
  return {
    /** @param {boolean} on */
    show(on) {
      button.setAttribute("aria-pressed", String(on));
    },
  };
}
