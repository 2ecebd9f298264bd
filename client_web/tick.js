// @ts-check
// A worker that ticks 30 times a second for the sample portrait: the browser slows the timers of a page in the background, but not
// those of its workers.
setInterval(() => postMessage(0), 1000 / 30);
