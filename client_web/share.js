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
  #view = "";
  #link = "";
  /** Until when the link lets viewers in; 0: as long as there is this name. */
  #until_s = 0;
  #on;

  /**
   * @param {object} on
   * @param {(() => Promise<import("./links.js").ViewerLink>) | null} on.signed a link that lets viewers in; null: no token is asked for
   * @param {(on: boolean) => void} on.sound
   * @param {() => void} on.renew ends the link and makes another
   * @param {(error: unknown) => void} on.error
   */
  constructor(on) {
    this.#on = on;
    find("#share").addEventListener("click", () => this.open());
    this.#address.addEventListener("focus", () => this.#address.select());
    find("#copy-link").addEventListener("click", () => this.#copy().catch(on.error));
    find("#new-link").addEventListener("click", on.renew);
    this.#sound.addEventListener("click", () => on.sound(this.#sound.getAttribute("aria-checked") !== "true"));
    find("#open-view").addEventListener("click", () => {
      const link = new URL(this.#link);
      link.searchParams.set("muted", "");
      const opened = window.open(link, "relight-view", "popup,width=1280,height=720");
      const hint = "Allow pop-ups for this address, or copy the link into a window of its own.";
      if (!opened) on.error(Object.assign(new Error("The browser blocked the window"), { code: "popup_blocked", hint }));
    });
    this.show("");
  }

  /** @returns {void} */
  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
    if (this.#view) this.#sign(); // the one that was made when the page went live may be old
    find("#copy-link").focus();
  }

  /** Shows the link of this name. @param {string} view empty: there is none now @returns {void} */
  show(view) {
    this.#view = view;
    this.#present(view && !this.#on.signed ? viewAddress(view) : "", "", 0);
    if (view) this.#sign();
  }

  /** Shows a link with a token of its own, where one is asked for. */
  async #sign() {
    const view = this.#view;
    if (!this.#on.signed) return;
    try {
      const { url, qr, expires_s } = await this.#on.signed();
      if (view === this.#view) this.#present(url, `data:image/svg+xml,${encodeURIComponent(qr)}`, expires_s ?? 0);
    } catch (error) {
      this.#on.error(error);
    }
  }

  /** @param {string} link @param {string} code address of its QR code; empty: the server draws it @param {number} until_s */
  #present(link, code, until_s) {
    this.#until_s = until_s;
    if (link !== this.#link || !link) {
      this.#link = link;
      this.#address.value = link;
      this.#code.hidden = !link;
      if (link) this.#code.src = code || new URL(`api/qr?${new URLSearchParams({ url: link })}`, document.baseURI).href;
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
    const time = new Date(this.#until_s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const limited = `The link lets viewers in until ${time}; whoever is in then stays. It admits to nothing else.`;
    return [LOCAL.test(location.hostname) && local, this.#until_s && limited].filter(Boolean).join(" ");
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
