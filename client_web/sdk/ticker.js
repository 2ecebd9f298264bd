// @ts-check
// Calls a function at a steady pace, in hidden tabs too: browsers throttle a page's timers there, and a worker's not.

/** A page's policy may forbid workers from elsewhere, ours among them: only where the SDK is the page's own is it sure. */
const OWN = new URL(import.meta.url).origin === location.origin;

/**
 * @param {number} pace_ms @param {() => void} call @returns {() => void} ends it
 */
export function every(pace_ms, call) {
  let timer = window.setInterval(call, pace_ms);
  /** @type {Worker | null} */
  let worker = null;
  const url = OWN ? new URL("tick.js", import.meta.url).href : blobUrl();
  try {
    worker = new Worker(url);
    worker.addEventListener("message", () => {
      clearInterval(timer);
      call();
    });
    worker.addEventListener("error", (event) => event.preventDefault()); // forbidden here: the page's timer goes on
    worker.postMessage(pace_ms);
  } catch {
    // Forbidden here: the page's timer goes on.
  }
  return () => {
    clearInterval(timer);
    worker?.terminate();
    if (!OWN) URL.revokeObjectURL(url);
  };
}

/** @returns {string} */
function blobUrl() {
  const source = 'addEventListener("message", ({ data }) => setInterval(() => postMessage(0), data))';
  return URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
}
