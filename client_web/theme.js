// @ts-check
// The theme, dark or light, follows the system until the participant chooses one.

import { find } from "./dom.js";

/** @param {import("./store.js").Store} store @returns {void} */
export function followTheme(store) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = find("#theme");
  const dark = () => (store.now.theme === "auto" ? system.matches : store.now.theme === "dark");
  const paint = () => {
    document.documentElement.dataset.theme = dark() ? "dark" : "light";
    button.setAttribute("aria-label", dark() ? "Use the light theme" : "Use the dark theme");
    button.title = button.getAttribute("aria-label") ?? "";
  };
  button.addEventListener("click", () => store.set({ theme: dark() ? "light" : "dark" }));
  system.addEventListener("change", paint);
  store.subscribe((_, changed) => changed.has("theme") && paint());
}
