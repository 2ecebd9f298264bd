// @ts-check
// The panel's controls: sliders, segmented controls and buttons that stay pressed.

import { find, write } from "./dom.js";

/**
 * @typedef {object} Slider
 * @property {(value: number) => void} show
 */

/**
 * Makes a slider of a labelled range: it shows its value and fills its track up to it.
 * @param {string} id of the range input; its output is `#id-value`
 * @param {(value: number) => string} format
 * @param {(value: number) => void} onInput
 * @param {() => void} [onReset] called on a double click
 * @returns {Slider}
 */
export function slider(id, format, onInput, onReset) {
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
  if (onReset) input.addEventListener("dblclick", onReset);
  paint();
  return {
    show(value) {
      input.valueAsNumber = value;
      paint();
    },
  };
}

/**
 * Makes a segmented control of a group of radio inputs.
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

/**
 * Makes a button that is either on or off.
 * @param {string} selector @param {(on: boolean) => void} onToggle @returns {{show: (on: boolean) => void}}
 */
export function toggle(selector, onToggle) {
  const button = find(selector);
  button.addEventListener("click", () => onToggle(button.getAttribute("aria-pressed") !== "true"));
  return {
    show(on) {
      button.setAttribute("aria-pressed", String(on));
    },
  };
}
