// @ts-check
// Shows every error and notice that concerns the participant as a toast.

import { find, make } from "./dom.js";

const SHOWN_MS = 8000;

/**
 * Shows a problem, in place of an older one of the same code.
 * @param {{code?: string, message: string, hint?: string, stays?: boolean}} problem `stays`: until it is dismissed @returns {void}
 */
export function trouble({ code = "trouble", message, hint = "", stays = false }) {
  const list = find("#toasts");
  for (const old of list.children) if (old instanceof HTMLElement && old.dataset.code === code) old.remove();
  while (list.children.length > 2) (list.querySelector(".toast:not([data-stays])") ?? list.firstElementChild)?.remove();
  const close = make("button", { type: "button", class: "toast-close", "aria-label": "Dismiss" }, "×");
  const text = make("div", {}, make("strong", {}, message));
  if (hint) text.append(make("p", {}, hint));
  const toast = make("div", { class: "toast", "data-code": code }, text, close);
  toast.toggleAttribute("data-stays", stays);
  const timer = stays ? 0 : window.setTimeout(() => toast.remove(), SHOWN_MS);
  close.addEventListener("click", () => {
    clearTimeout(timer);
    toast.remove();
  });
  list.append(toast);
}

/** Shows an error of any origin. @param {unknown} error @returns {void} */
export function troubleFrom(error) {
  const known = /** @type {{code?: string, message?: string, hint?: string}} */ (error ?? {});
  trouble({ code: known.code, message: known.message || "Something went wrong", hint: known.hint });
  if (!known.hint) console.error(error);
}
