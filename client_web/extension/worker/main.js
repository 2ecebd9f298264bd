// @ts-check
// The service worker: it knows the server and the token, connects the pages that relight, and tells popup and pages of each other.
// The browser may end it at any moment; all it must remember is in storage, and the pages open their lines again.

import { Gateway, request } from "./gateway.js";
import { change, settings } from "./settings.js";

/** @typedef {import("./settings.js").Settings} Settings */
/**
 * What a page says about the camera it relights.
 * @typedef {object} Report
 * @property {string} state of the SDK
 * @property {number} delay in s
 * @property {number} fps
 * @property {string} camera label
 * @property {boolean} microphone the page took a delayed microphone as well
 * @property {string} face
 * @property {string} engine message of the engine; empty: all is well
 * @property {{code: string, message: string, hint: string} | null} trouble
 */
/** @typedef {{port: ChromePort, gateway: Gateway, report: Report | null}} Page */

/** @type {Set<Page>} */
const pages = new Set();
/** @type {Set<ChromePort>} */
const popups = new Set();

/** @param {Page} page @returns {{tab: number, host: string, report: Report | null}} */
const described = ({ port, report }) => ({
  tab: port.sender?.tab?.id ?? -1,
  host: hostOf(port.sender?.url ?? ""),
  report,
});

/** @param {string} url @returns {string} */
const hostOf = (url) => (URL.canParse(url) ? new URL(url).host : "");

/** The page does not learn where the server is, or the token. @param {Settings} all */
const forPage = ({ light, adjust, strength, original, who, avatar }) => ({
  op: "settings",
  settings: { light, adjust, strength, original, who, avatar },
});

const showPages = () => {
  for (const popup of popups) popup.postMessage({ op: "pages", pages: [...pages].map(described) });
};
const watchPages = () => {
  for (const { port } of pages) port.postMessage({ op: "preview", on: popups.size > 0 });
};

/** @param {ChromePort} port */
function admitPage(port) {
  const gateway = new Gateway((message) => pages.has(page) && port.postMessage(message));
  /** @type {Page} */
  const page = { port, gateway, report: null };
  pages.add(page);
  port.onMessage.addListener((message) => {
    if (message.op === "report") {
      page.report = message.report;
      showPages();
    } else if (message.op === "preview") {
      for (const popup of popups) popup.postMessage({ ...message, tab: port.sender?.tab?.id ?? -1 });
    } else gateway.receive(message);
  });
  port.onDisconnect.addListener(() => {
    pages.delete(page);
    gateway.close();
    showPages();
  });
  settings().then((all) => pages.has(page) && port.postMessage(forPage(all)));
  if (popups.size) port.postMessage({ op: "preview", on: true });
}

/** @param {ChromePort} port */
function admitPopup(port) {
  popups.add(port);
  port.onMessage.addListener(async (message) => {
    if (message.op === "set") await apply(message.settings);
    else if (message.op === "get") {
      /** @type {{op: string, id: number, status: number, body: unknown}} */
      const answer = { op: "got", id: message.id, status: 0, body: null };
      try {
        const response = await request(message.path);
        answer.status = response.status;
        answer.body = await response.json();
      } catch {
        // Status 0: the server cannot be reached, or what answers is another server.
      }
      if (popups.has(port)) port.postMessage(answer);
    }
  });
  port.onDisconnect.addListener(() => {
    popups.delete(port);
    watchPages();
  });
  settings().then((all) => popups.has(port) && port.postMessage({ op: "settings", settings: all }));
  showPages();
  watchPages();
}

/** @param {Partial<Settings>} patch */
async function apply(patch) {
  const before = await settings();
  const all = await change(patch);
  for (const { port, gateway } of pages) {
    port.postMessage(forPage(all));
    if (all.server !== before.server || all.token !== before.token) gateway.close();
  }
  for (const popup of popups) popup.postMessage({ op: "settings", settings: all });
  if (all.microphone !== before.microphone) await announce();
}

/** Tells every page that its list of devices changed; a page without our script does not answer. */
async function announce() {
  for (const { id } of await chrome.tabs.query({}))
    if (id !== undefined) chrome.tabs.sendMessage(id, { event: "devicechange" }).catch(() => {});
}

chrome.runtime.onConnect.addListener((port) => (port.name === "popup" ? admitPopup(port) : admitPage(port)));
chrome.runtime.onMessage.addListener((message, _sender, answer) => {
  if (message.op !== "offer") return;
  settings().then(({ microphone, sites }) => answer({ microphone, unasked: sites.includes(message.site) }));
  return true; // the answer comes later
});
