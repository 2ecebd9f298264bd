// @ts-check
// Opens relit devices: the browser opens the real one, with its own prompts and errors, and the extension relights the track.

import { ask } from "./bridge.js";
import { wantsRelit } from "./constraints.js";
import { end, handOut } from "./tracks.js";

/** @typedef {import("./constraints.js").Choice} Choice */
/** @typedef {import("./names.js").Kind} Kind */
/** @typedef {import("./tracks.js").Feed} Feed */

/** Devices in use, by kind and real deviceId. @type {Map<string, Promise<Feed>>} */
const feeds = new Map();
let lastSession = 0;

/**
 * Gives a stream its relit tracks, in place of the real ones that the page named the relit twins of.
 * @param {MediaStream} stream as the browser opened it @param {Choice} choice @param {any} constraints as the page gave them
 * @returns {Promise<MediaStream>} rejects with NotReadableError where the extension is gone
 */
export async function relight(stream, choice, constraints) {
  const swap = async (/** @type {MediaStreamTrack} */ real) => {
    const kind = /** @type {Kind} */ (real.kind);
    if (!wantsRelit(choice.named[kind], real.getSettings())) return real;
    const asked = constraints[kind];
    const settings = real.getSettings();
    const feed = await feedOf(kind, real);
    const track = await handOut(feed, asked !== null && typeof asked === "object" ? asked : {}, settings);
    feed.held.delete(real);
    return track;
  };
  try {
    return new MediaStream(await Promise.all(stream.getTracks().map(swap)));
  } catch (error) {
    for (const track of stream.getTracks()) track.stop();
    // The camera itself would be a fallback, but whoever is seen as an avatar must not be shown by it.
    throw new DOMException(`Could not start the relit source: ${/** @type {Error} */ (error).message}`, "NotReadableError");
  }
}

/** @param {Kind} kind @param {MediaStreamTrack} real @returns {Promise<Feed>} */
async function feedOf(kind, real) {
  const device = `${kind} ${real.getSettings().deviceId}`;
  const present = await feeds.get(device)?.catch(() => undefined);
  if (present && !present.ended) {
    present.held.add(real); // it must not end before this opening has its own track
    return widen(present, real);
  }
  const feed = openFeed(kind, real);
  feeds.set(device, feed);
  feed.catch(() => feeds.get(device) === feed && feeds.delete(device));
  return feed;
}

/** @param {Kind} kind @param {MediaStreamTrack} real @returns {Promise<Feed>} */
async function openFeed(kind, real) {
  const session = (lastSession += 1);
  const { tracks } = await ask("open", { session, kind }, [real]);
  /** @type {Feed} */
  const feed = {
    kind,
    session,
    real,
    relit: tracks[0],
    held: new Set(),
    ended: false,
    release: () => void ask("close", { session }).catch(() => {}),
  };
  endWith(feed, real);
  return feed;
}

/** Ends the feed when its device is unplugged or no longer allowed. @param {Feed} feed @param {MediaStreamTrack} real */
function endWith(feed, real) {
  real.addEventListener("ended", () => real === feed.real && end(feed));
}

/**
 * Opens a device a second time: one session serves both, from whichever of the two pictures is larger.
 * @param {Feed} feed @param {MediaStreamTrack} real @returns {Promise<Feed>}
 */
async function widen(feed, real) {
  const area = ({ width = 0, height = 0 }) => width * height;
  if (feed.kind === "video" && area(real.getSettings()) > area(feed.real.getSettings())) {
    await ask("replace", { session: feed.session }, [real]);
    const old = feed.real;
    feed.real = real;
    endWith(feed, real);
    old.stop();
  } else real.stop();
  return feed;
}
