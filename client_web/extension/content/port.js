// @ts-check
// The line to the service worker. The browser may end the worker at any moment; the line is opened again, which starts the worker,
// as long as there is something to relight.

/** @typedef {{op: string, [field: string]: any}} Message */

const REOPEN_MS = 250;

export class Port {
  /** @type {ChromePort | null} */
  #port = null;
  #open = false;
  #timer = 0;
  #on;

  /**
   * @param {object} on
   * @param {(message: Message) => void} on.message
   * @param {() => void} on.lost called each time the worker ended; what was under way there is lost
   */
  constructor(on) {
    this.#on = on;
  }

  /** Opens the line until `close`. Throws where the extension was removed or reloaded. @returns {void} */
  open() {
    this.#open = true;
    if (this.#port) return;
    const port = chrome.runtime.connect({ name: "session" });
    this.#port = port;
    port.onMessage.addListener((message) => this.#on.message(message));
    port.onDisconnect.addListener(() => {
      void chrome.runtime.lastError; // read, or the browser reports it on the page's console
      if (port !== this.#port) return;
      this.#port = null;
      this.#on.lost();
      if (this.#open) this.#timer = window.setTimeout(() => this.#reopen(), REOPEN_MS);
    });
  }

  /** @param {Message} message dropped while the line is down @returns {void} */
  send(message) {
    this.#port?.postMessage(message);
  }

  /** @returns {void} */
  close() {
    this.#open = false;
    clearTimeout(this.#timer);
    this.#port?.disconnect();
    this.#port = null;
  }

  #reopen() {
    try {
      if (this.#open) this.open();
    } catch {
      // The extension was removed or reloaded: this page goes on as it would without a server.
    }
  }
}
