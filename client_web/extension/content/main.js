// @ts-check
// The extension's own script in every page. It does nothing until the page opens a relit device; then it loads the part that
// relights (session.js). It shares the page's document, and so its tracks, but none of its variables: what the page may send to
// the server, and with which token, is not the page's to decide.

/** @typedef {import("./sessions.js").Sessions} Sessions */

/** Origin of the page that the participant sees in the address bar; this may be a frame in it. */
const site = [...location.ancestorOrigins].at(-1) ?? location.origin;

/** Tracks that came for a request which is under way. @type {MediaStreamTrack[]} */
let arrived = [];
/** @type {Promise<Sessions> | null} */
let loading = null;

/** @returns {Promise<Sessions>} */
function sessions() {
  loading ??= import(chrome.runtime.getURL("session.js")).then((module) => new module.Sessions());
  loading.catch(() => (loading = null));
  return loading;
}

/**
 * A page may have its camera relit, but nothing that is no device of this machine: the server's work is the participant's.
 * @param {MediaStreamTrack} track @returns {Promise<void>} rejects for other tracks
 */
async function checkDevice(track) {
  const { deviceId } = track.getSettings();
  const devices = await navigator.mediaDevices.enumerateDevices();
  if (!deviceId || !devices.some((device) => device.deviceId === deviceId)) throw new Error("not a device of this machine");
}

/**
 * @param {{op: string, session: number, kind: "video" | "audio"}} request @param {MediaStreamTrack[]} tracks
 * @returns {Promise<{data?: unknown, tracks?: MediaStreamTrack[]}>}
 */
async function answer({ op, session, kind }, tracks) {
  if (op === "offer") return { data: await chrome.runtime.sendMessage({ op: "offer", site }) };
  for (const track of tracks) await checkDevice(track);
  if (op === "open") return { tracks: [await (await sessions()).open(session, kind, tracks[0])] };
  if (op === "replace") (await sessions()).replace(session, tracks[0]);
  else if (op === "close") (await sessions()).close(session);
  else throw new Error(`unknown request ${op}`);
  return {};
}

/** @param {Element} line where the page's script asks; see page/bridge.js */
function serve(line) {
  line.addEventListener("track-to-extension", (event) => arrived.push(/** @type {MediaStreamTrackEvent} */ (event).track));
  line.addEventListener("ask", async (event) => {
    const request = JSON.parse(/** @type {CustomEvent} */ (event).detail);
    const tracks = arrived;
    arrived = [];
    /** @type {{id: number, data?: unknown, error?: string}} */
    const reply = { id: request.id };
    try {
      const { data, tracks: relit = [] } = await answer(request, tracks);
      reply.data = data;
      for (const track of relit) line.dispatchEvent(new MediaStreamTrackEvent("track-to-page", { track }));
    } catch (error) {
      reply.error = /** @type {Error} */ (error).message;
    }
    line.dispatchEvent(new CustomEvent("answer", { detail: JSON.stringify(reply) }));
  });
  chrome.runtime.onMessage.addListener((message) => {
    line.dispatchEvent(new CustomEvent("tell", { detail: JSON.stringify(message) }));
  });
  line.dispatchEvent(new Event("taken"));
}

// Before the page's own scripts run: afterwards no other line is taken.
document.addEventListener("relight:line", (event) => serve(/** @type {Element} */ (/** @type {MouseEvent} */ (event).relatedTarget)), {
  once: true,
});
document.dispatchEvent(new Event("relight:ready"));
