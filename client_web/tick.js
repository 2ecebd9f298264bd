// @ts-check
// Worker: a steady beat for the sample portrait; a page in the background keeps the beat of its workers, not its own.
setInterval(() => postMessage(0), 1000 / 30);
