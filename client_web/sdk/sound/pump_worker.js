// @ts-check
// Runs ChunkPump in a worker: each message is one call, and the packets of a connection come by an event.

import { ChunkPump } from "./chunk_pump.js";

/** @type {ChunkPump | null} */
let pump = null;
addEventListener("message", ({ data }) => {
  const [call, ...given] = data;
  if (call === "start") pump = new ChunkPump(given[0]);
  else if (call === "read") pump?.read(given[0]);
  else if (call === "receive") pump?.receive(given[0]);
  else if (call === "hear") pump?.hear(given[0]);
  else if (call === "follow") pump?.follow(given[0]);
  else if (call === "match") pump?.match(given[0]);
  else if (call === "stop") pump?.stop();
});
addEventListener("rtctransform", (event) => {
  pump?.receive(/** @type {any} */ (event).transformer.readable); // not given on: the browser would play it a second time
});
postMessage("ready");
