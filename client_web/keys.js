// @ts-check
// The keyboard shortcuts of the page, and the dialog that lists them.

import { find } from "./dom.js";

/** Tells whether an element uses letters, digits or the space bar itself. @param {EventTarget | null} target @returns {boolean} */
function isTyping(target) {
  const typed = "input:not([type=range]):not([type=radio]), select, textarea, dialog[open]";
  return target instanceof Element && target.closest(typed) !== null;
}

/**
 * Listens to the shortcuts.
 * @param {object} on
 * @param {(index: number) => void} on.light
 * @param {() => void} on.hint
 * @param {() => void} on.split
 * @param {() => void} on.mirror
 * @param {() => void} on.pause
 * @param {() => void} on.microphone opens it, mutes it, or lets it be heard again
 * @param {() => void} on.record begins, or stops
 * @param {() => void} on.snapshot
 * @param {() => void} on.float picture-in-picture
 * @param {() => void} on.share
 * @param {() => void} on.who changes between me and the avatar
 * @param {(held: boolean) => void} on.peek
 * @returns {void}
 */
export function listenToKeys(on) {
  const help = /** @type {HTMLDialogElement} */ (find("#help-dialog"));
  find("#help").addEventListener("click", () => help.showModal());
  for (const dialog of document.querySelectorAll("dialog"))
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const onControl = event.target instanceof Element && event.target.closest("button, summary, a, [role=radio], input");
    if (event.key === " ") {
      if (onControl) return; // the space bar presses the focused control
      event.preventDefault();
      if (!event.repeat) on.peek(true);
      return;
    }
    if (event.repeat) return;
    const key = event.key.toLowerCase();
    if (/^[1-9]$/.test(key)) on.light(Number(key) - 1);
    else if (key === "h") on.hint();
    else if (key === "s") on.split();
    else if (key === "m") on.mirror();
    else if (key === "p") on.pause();
    else if (key === "a") on.who();
    else if (key === "u") on.microphone();
    else if (key === "r") on.record();
    else if (key === "c") on.snapshot();
    else if (key === "o") on.float();
    else if (key === "l") on.share();
    else if (key === "?") help.showModal();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => event.key === " " && on.peek(false));
  window.addEventListener("blur", () => on.peek(false));
}
