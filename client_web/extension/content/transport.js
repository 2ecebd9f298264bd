// @ts-check
// The SDK's way to the server: the service worker opens sockets and makes requests, since it alone knows address and token, and no
// page's content policy binds it. Addresses are cut to their path here; the worker puts the server before it.

/** @typedef {import("./port.js").Port} Port */
/** @typedef {import("./port.js").Message} Message */
/** @typedef {import("../../sdk/relight.js").Transport} Transport */

/** Any address will do: only the path after it is used. */
export const SERVER = "https://relight.invalid/";
const ABNORMAL = 1006; // the code of a connection that ended without a word

/** @param {string} url @returns {string} path and query, relative to the server */
const pathOf = (url) => url.slice(new URL(url).origin.length + 1);

/** Stands for a WebSocket that the worker holds. */
class RemoteSocket extends EventTarget {
  /** @type {number} */
  readyState = WebSocket.CONNECTING;
  #send;

  /** @param {(fields: Record<string, unknown>) => void} send */
  constructor(send) {
    super();
    this.#send = send;
  }

  /** @param {string} text @returns {void} */
  send(text) {
    this.#send({ op: "send", text });
  }

  /** @param {number} [code] @param {string} [reason] @returns {void} */
  close(code = 1000, reason = "") {
    if (this.readyState >= WebSocket.CLOSING) return;
    this.#send({ op: "close", code, reason });
    this.closed(code, reason);
  }

  /** @param {number} code @param {string} reason @returns {void} */
  closed(code, reason) {
    if (this.readyState === WebSocket.CLOSED) return;
    this.readyState = WebSocket.CLOSED;
    this.dispatchEvent(new CloseEvent("close", { code, reason }));
  }
}

export class WorkerTransport {
  #port;
  #lastId = 0;
  /** @type {Map<number, RemoteSocket>} */
  #sockets = new Map();
  /** @type {Map<number, {resolve: (response: Response) => void, reject: (error: Error) => void}>} */
  #requests = new Map();

  /** @param {Port} port */
  constructor(port) {
    this.#port = port;
  }

  /** @type {Transport["open"]} */
  open(url) {
    const id = (this.#lastId += 1);
    const socket = new RemoteSocket((fields) => this.#port.send({ op: "", ...fields, id }));
    this.#sockets.set(id, socket);
    this.#port.open();
    this.#port.send({ op: "socket", id, path: pathOf(url) });
    return /** @type {ReturnType<Transport["open"]>} */ (/** @type {unknown} */ (socket));
  }

  /** @type {Transport["fetch"]} */
  async fetch(url, init = {}) {
    const id = (this.#lastId += 1);
    if (init.body && !(init.body instanceof FormData)) throw new TypeError("only forms can be sent through the extension");
    const parts = init.body instanceof FormData ? await Promise.all([...init.body].map(partOf)) : null;
    const answer = new Promise((resolve, reject) => this.#requests.set(id, { resolve, reject }));
    this.#port.open();
    this.#port.send({ op: "fetch", id, path: pathOf(url), method: init.method ?? "GET", parts });
    return answer;
  }

  /** Takes a message of the worker. @param {Message} message @returns {void} */
  receive({ op, id, ...fields }) {
    const socket = this.#sockets.get(id);
    if (op === "opened" && socket) {
      socket.readyState = WebSocket.OPEN;
      socket.dispatchEvent(new Event("open"));
    } else if (op === "text") socket?.dispatchEvent(new MessageEvent("message", { data: fields.text }));
    else if (op === "closed") {
      this.#sockets.delete(id);
      socket?.closed(fields.code, fields.reason);
    } else if (op === "answer" || op === "no_answer") {
      const { resolve, reject } = this.#requests.get(id) ?? {};
      this.#requests.delete(id);
      if (op === "answer") resolve?.(new Response(fields.text, { status: fields.status, headers: fields.headers }));
      else reject?.(new TypeError(fields.message));
    }
  }

  /** Fails what was under way when the worker ended. @returns {void} */
  lost() {
    const [sockets, requests] = [[...this.#sockets.values()], [...this.#requests.values()]];
    this.#sockets.clear();
    this.#requests.clear();
    for (const socket of sockets) socket.closed(ABNORMAL, "");
    for (const { reject } of requests) reject(new TypeError("The extension's worker ended."));
  }
}

/** Messages between scripts of an extension are JSON: files go as base64. @param {[string, FormDataEntryValue]} entry */
async function partOf([name, value]) {
  if (typeof value === "string") return { name, value };
  const bytes = new Uint8Array(await value.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return { name, base64: btoa(text), file: value.name, mime: value.type };
}
