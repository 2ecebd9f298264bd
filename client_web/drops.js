// @ts-check
// Accepts files that are dropped anywhere on the page, or pasted. While a file is dragged, a veil shows where it can be dropped.

import { find } from "./dom.js";

/** @typedef {"light" | "portrait"} Place */

/**
 * Listens for dropped and pasted files.
 * @param {object} on
 * @param {() => boolean} on.avatar true while portraits are accepted; a pasted picture is one then
 * @param {(file: File, place: Place) => void} on.file
 * @returns {void}
 */
export function acceptFiles(on) {
  const veil = find("#drop-veil");
  const zones = /** @type {Record<Place, HTMLElement>} */ ({ light: find("#drop-light"), portrait: find("#drop-portrait") });
  let depth = 0; // dragenter and dragleave come for every element that is passed

  const hasFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  const setDepth = (/** @type {number} */ next) => {
    if (next && !depth) zones.portrait.hidden = !on.avatar();
    depth = next;
    veil.classList.toggle("shown", depth > 0);
  };
  /** @param {DragEvent} event @returns {Place} */
  const placeOf = ({ clientX, clientY }) => {
    if (zones.portrait.hidden) return "light";
    const { left, right, top, bottom } = zones.portrait.getBoundingClientRect();
    return clientX >= left && clientX <= right && clientY >= top && clientY <= bottom ? "portrait" : "light";
  };

  document.addEventListener("dragenter", (event) => hasFile(event) && setDepth(depth + 1));
  document.addEventListener("dragleave", (event) => hasFile(event) && setDepth(Math.max(0, depth - 1)));
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    for (const [place, zone] of Object.entries(zones)) zone.classList.toggle("aimed", place === placeOf(event));
  });
  document.addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    const place = placeOf(event);
    setDepth(0);
    const file = event.dataTransfer?.files[0];
    if (file) on.file(file, place);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) on.file(file, on.avatar() ? "portrait" : "light");
  });
}
