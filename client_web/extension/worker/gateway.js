// @ts-check
// Opens the sockets and makes the requests of one page. It adds the server's address and the token, which never leave the worker.

import { settings } from "./settings.js";

/** @typedef {{op: string, id: number, [field: string]: any}} Message */

const PROTOCOL = "relight.v1";
/** Chromium refuses codes a page may not send; this one says: going away. */
const GOING = 4001;

/** @param {string} token @returns {string} base64url of its UTF-8, without padding, so that it may stand in a list of subprotocols */
const spelt = (token) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(token))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

/** @param {string} server @param {string} path @returns {URL} throws TypeError for a path that leaves the server */
export function addressOf(server, path) {
  const base = new URL(server.endsWith("/") ? server : `${server}/`);
  const url = new URL(path, base);
  if (url.origin !== base.origin) throw new TypeError(`${path} is not a path of the server`);
  return url;
}

/** @param {string} token @returns {Record<string, string>} */
const authorization = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/**
 * Requests a path of the server.
 * @param {string} path @param {RequestInit} [init] @returns {Promise<Response>}
 */
export async function request(path, init = {}) {
  const { server, token } = await settings();
  return fetch(addressOf(server, path), { ...init, headers: authorization(token), credentials: "omit" });
}

export class Gateway {
  /** @type {Map<number, WebSocket>} */
  #sockets = new Map();
  #post;

  /** @param {(message: Message) => void} post answers the page */
  constructor(post) {
    this.#post = post;
  }

  /** @param {Message} message @returns {Promise<void>} */
  async receive(message) {
    const { op, id } = message;
    if (op === "socket") await this.#open(id, message.path);
    else if (op === "fetch") await this.#fetch(id, message);
    else if (op === "send" && this.#sockets.get(id)?.readyState === WebSocket.OPEN) this.#sockets.get(id)?.send(message.text);
    else if (op === "close") this.#sockets.get(id)?.close(message.code, message.reason);
  }

  /** Closes every socket: the page connects again by itself where it still wants to. @returns {void} */
  close() {
    for (const socket of this.#sockets.values()) socket.close(GOING);
  }

  /** @param {number} id @param {string} path */
  async #open(id, path) {
    try {
      const { server, token } = await settings();
      const url = addressOf(server, path);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = new WebSocket(url, token ? [PROTOCOL, `bearer.${spelt(token)}`] : []);
      this.#sockets.set(id, socket);
      socket.addEventListener("open", () => this.#post({ op: "opened", id }));
      socket.addEventListener("message", ({ data }) => this.#post({ op: "text", id, text: data }));
      socket.addEventListener("close", ({ code, reason }) => {
        this.#sockets.delete(id);
        this.#post({ op: "closed", id, code, reason });
      });
    } catch (error) {
      this.#post({ op: "closed", id, code: 1006, reason: /** @type {Error} */ (error).message });
    }
  }

  /** @param {number} id @param {Message} message */
  async #fetch(id, { path, method, parts }) {
    try {
      const response = await request(path, { method, ...(parts ? { body: formOf(parts) } : {}) });
      const headers = { "content-type": response.headers.get("content-type") ?? "" };
      this.#post({ op: "answer", id, status: response.status, headers, text: await response.text() });
    } catch (error) {
      this.#post({ op: "no_answer", id, message: /** @type {Error} */ (error).message });
    }
  }
}

/** @param {{name: string, value?: string, base64?: string, file?: string, mime?: string}[]} parts @returns {FormData} */
function formOf(parts) {
  const form = new FormData();
  for (const { name, value, base64 = "", file, mime } of parts) {
    if (value !== undefined) form.append(name, value);
    else form.append(name, new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))], { type: mime }), file);
  }
  return form;
}
