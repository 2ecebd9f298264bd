// @ts-check
// The popup's line to the service worker, which holds the choices and knows the pages that relight.

/** @typedef {import("../worker/settings.js").Settings} Settings */
/** @typedef {import("../worker/main.js").Report} Report */
/** @typedef {{tab: number, host: string, report: Report | null}} Page */
/** @typedef {{tab: number, before: string, after: string}} Pictures data URLs; empty before the first picture */

const SEND_MS = 50; // a drag sends twenty times a second, and its last value
const REOPEN_MS = 250;

export class Line {
  /** @type {ChromePort | null} */
  #port = null;
  #lastId = 0;
  /** @type {Map<number, (answer: {status: number, body: any}) => void>} */
  #waiting = new Map();
  /** @type {Partial<Settings>} */
  #unsent = {};
  #timer = 0;
  #on;

  /**
   * @param {object} on
   * @param {(settings: Settings) => void} on.settings
   * @param {(pages: Page[]) => void} on.pages
   * @param {(pictures: Pictures) => void} on.preview
   */
  constructor(on) {
    this.#on = on;
    this.#open();
  }

  /** Changes choices, for this participant and every page at once. @param {Partial<Settings>} settings @returns {void} */
  set(settings) {
    Object.assign(this.#unsent, settings);
    this.#timer ||= window.setTimeout(() => this.flush(), SEND_MS);
  }

  /** Sends what `set` still holds back. @returns {void} */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (Object.keys(this.#unsent).length) this.#port?.postMessage({ op: "set", settings: this.#unsent });
    this.#unsent = {};
  }

  /** Requests a path of the server. @param {string} path @returns {Promise<{status: number, body: any}>} status 0: unreachable */
  get(path) {
    const id = (this.#lastId += 1);
    const answer = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.#port?.postMessage({ op: "get", id, path });
    return answer;
  }

  #open() {
    const port = chrome.runtime.connect({ name: "popup" });
    this.#port = port;
    port.onMessage.addListener((message) => {
      if (message.op === "settings") this.#on.settings({ ...message.settings, ...this.#unsent });
      else if (message.op === "pages") this.#on.pages(message.pages);
      else if (message.op === "preview") this.#on.preview(message);
      else if (message.op === "got") {
        this.#waiting.get(message.id)?.(message);
        this.#waiting.delete(message.id);
      }
    });
    // The browser may end the worker while the popup is open.
    port.onDisconnect.addListener(() => {
      for (const resolve of this.#waiting.values()) resolve({ status: 0, body: null });
      this.#waiting.clear();
      setTimeout(() => this.#open(), REOPEN_MS);
    });
  }
}
