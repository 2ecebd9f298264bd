// @ts-check
// Runs ChunkPump in a worker: each message is one call.

import { ChunkPump } from "./chunk_pump.js";

/** @type {ChunkPump | null} */
let pump = null;
addEventListener("message", ({ data }) => {
  const [call, ...given] = data;
  if (call === "start") pump = new ChunkPump(given[0]);
  else if (call === "read") pump?.read(given[0], given[1]);
  else if (call === "hear") pump?.hear(given[0]);
  else if (call === "follow") pump?.follow(given[0]);
  else if (call === "stop") pump?.stop();
});
postMessage("ready");
