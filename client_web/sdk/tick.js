// @ts-check
// A worker that ticks at the pace it is told: the browser slows the timers of a page in the background, but not those of its workers.
addEventListener("message", ({ data }) => setInterval(() => postMessage(0), data));
