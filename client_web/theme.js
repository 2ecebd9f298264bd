// @ts-check
// Dark or light: the system's choice until the participant makes one.

import { find } from "./dom.js";

/** @param {import("./store.js").Store} store */
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
  store.follow((_, changed) => changed.has("theme") && paint());
}
