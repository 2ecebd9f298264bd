// @ts-check
// The server's address, the token that admits us, and the two ways to reach it. Nothing else in the SDK opens a connection.

/** @typedef {import("./relight.js").Transport} Transport */
/** @typedef {import("./relight.js").SocketLike} SocketLike */

const PROTOCOL = "relight.v1";

/** @type {Transport} */
const BROWSER = {
  // The browser's own are looked up at each call: a page may have wrapped them.
  open: (url, protocols) => (protocols.length ? new WebSocket(url, protocols) : new WebSocket(url)),
  fetch: (url, init) => fetch(url, init),
};

/**
 * Spells a token so that it may stand in a WebSocket's list of subprotocols: base64url of its UTF-8, without padding.
 * @param {string} token @returns {string}
 */
const spelt = (token) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(token))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

export class Server {
  #base;
  #token;
  #transport;

  /**
   * @param {string | URL} address of the server, http(s) @param {string} token empty: none
   * @param {Transport} [transport] the browser's own where it is left out; throws TypeError for an address of another kind
   */
  constructor(address, token, transport = BROWSER) {
    try {
      this.#base = new URL(address, document.baseURI);
    } catch {
      throw new TypeError(`server=${JSON.stringify(address)} is not an address: use one like https://relight.example/`);
    }
    if (!/^https?:$/.test(this.#base.protocol))
      throw new TypeError(`server=${JSON.stringify(String(address))} is not http or https: use one like https://relight.example/`);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#token = token;
    this.#transport = transport;
  }

  /** The server's address, for messages. @returns {string} */
  get address() {
    return this.#base.href;
  }

  /** Opens the WebSocket of docs/protocol.md. @returns {SocketLike} */
  open() {
    const url = new URL("ws", this.#base);
    url.protocol = url.protocol.replace("http", "ws");
    return this.#transport.open(url.href, this.#token ? [PROTOCOL, `bearer.${spelt(this.#token)}`] : []);
  }

  /**
   * Requests a path of the server, with the token.
   * @param {string} path relative, as in "api/lights" @param {RequestInit} [init] @returns {Promise<Response>}
   */
  fetch(path, init = {}) {
    const headers = new Headers(init.headers);
    if (this.#token) headers.set("Authorization", `Bearer ${this.#token}`);
    return this.#transport.fetch(new URL(path, this.#base).href, { ...init, headers });
  }
}
