// @ts-check
// The dialog that hands out the link of the viewer's page: as text, as a QR code, as a window, with or without sound.

import { find, write } from "./dom.js";

const LOCAL = /^(localhost|.*\.localhost|127\..*|\[::1\])$/;
const COPIED_MS = 2000;

/** Returns the address of the viewer's page. @param {string} view name for viewers @returns {string} */
export const viewAddress = (view) => new URL(`view/${encodeURIComponent(view)}`, document.baseURI).href;

export class Share {
  #dialog = /** @type {HTMLDialogElement} */ (find("#share-dialog"));
  #address = /** @type {HTMLInputElement} */ (find("#share-address"));
  #code = /** @type {HTMLImageElement} */ (find("#share-qr"));
  #sound = find("#share-sound");
  #link = "";
  #token;

  /**
   * @param {object} on
   * @param {string} on.token that a viewer's page of our own needs; empty: none
   * @param {(on: boolean) => void} on.sound
   * @param {() => void} on.renew ends the link and makes another
   * @param {(error: unknown) => void} on.error
   */
  constructor(on) {
    this.#token = on.token;
    find("#share").addEventListener("click", () => this.open());
    this.#address.addEventListener("focus", () => this.#address.select());
    find("#copy-link").addEventListener("click", () => this.#copy().catch(on.error));
    find("#new-link").addEventListener("click", on.renew);
    this.#sound.addEventListener("click", () => on.sound(this.#sound.getAttribute("aria-checked") !== "true"));
    find("#open-view").addEventListener("click", () => {
      // The token stands in the fragment, which no server sees; the page takes it out of the address bar at once.
      const fragment = on.token ? `#${new URLSearchParams({ token: on.token })}` : "";
      const opened = window.open(`${this.#link}?muted${fragment}`, "relight-view", "popup,width=1280,height=720");
      const hint = "Allow pop-ups for this address, or copy the link into a window of its own.";
      if (!opened) on.error(Object.assign(new Error("The browser blocked the window"), { code: "popup_blocked", hint }));
    });
    this.show("");
  }

  /** @returns {void} */
  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
    find("#copy-link").focus();
  }

  /** Shows the link of this name. @param {string} view empty: there is none now @returns {void} */
  show(view) {
    const link = view ? viewAddress(view) : "";
    if (link !== this.#link || !link) {
      this.#link = link;
      this.#address.value = link;
      this.#code.hidden = !link;
      if (link) this.#code.src = new URL(`api/qr?${new URLSearchParams({ url: link })}`, document.baseURI).href;
    }
    for (const id of ["#copy-link", "#open-view", "#new-link"]) /** @type {HTMLButtonElement} */ (find(id)).disabled = !link;
    this.#address.placeholder = "There is a link once you are live";
    write(find("#share-reach"), this.#reach());
  }

  /** @param {boolean} on @returns {void} */
  sound(on) {
    this.#sound.setAttribute("aria-checked", String(on));
  }

  /** Says who can open the link at all. */
  #reach() {
    const local = `This link opens on this machine alone, since the page itself was opened as ${location.hostname}. Open the page under an address that others can reach to share with them.`;
    const guarded = "This server asks for a token: viewers add #token=… with one of theirs to the link. Yours is not in it.";
    return [LOCAL.test(location.hostname) && local, this.#token && guarded].filter(Boolean).join(" ");
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#link);
    } catch {
      this.#address.select(); // no clipboard here: the selected text is copied by hand
      const hint = "It is selected: copy it with the keyboard.";
      throw Object.assign(new Error("The browser did not let the page copy the link"), { code: "no_clipboard", hint });
    }
    write(find("#copy-link-name"), "Copied");
    window.setTimeout(() => write(find("#copy-link-name"), "Copy link"), COPIED_MS);
  }
}
